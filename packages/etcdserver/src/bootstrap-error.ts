/** Why a member cannot start on what it found or was told. */

import { EtcdError } from "@etcd-ts/base";

export class BootstrapError extends EtcdError {
  readonly code = "BOOTSTRAP";
}
