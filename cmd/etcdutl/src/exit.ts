/** Exit statuses, as etcdctl's, and the error that carries one. */

import { EtcdError } from "@etcd-ts/base";

export const EXIT_ERROR = 1;
export const EXIT_BAD_FEATURE = 4;
export const EXIT_INTERRUPTED = 5;
export const EXIT_BAD_ARGUMENTS = 128;

/** Ends the command with a message on stderr. */
export class CommandError extends EtcdError {
  readonly code = "COMMAND";
  readonly exitCode: number;

  constructor(exitCode: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}
