/** Why membership cannot be made up or read back. */

import { EtcdError } from "@etcd-ts/base";

export type MembershipErrorCode = "BAD_URLS" | "V2_STORE" | "V2_CONTENT" | "VERSION_TOO_LOW";

export class MembershipError extends EtcdError {
  readonly code: MembershipErrorCode;

  constructor(code: MembershipErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
