/** Byte streams between hosts, as peers and clients need them. */

import { EtcdError } from "../errors.ts";

/** Where to listen or dial: `host:port`, or the path of a unix socket. */
export type NetworkAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export type NetworkErrorCode =
  | "REFUSED"
  | "TIMED_OUT"
  | "RESET"
  | "ADDRESS_IN_USE"
  | "UNREACHABLE"
  | "IO";

export class NetworkError extends EtcdError {
  readonly code: NetworkErrorCode;

  constructor(code: NetworkErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface ConnectionHandlers {
  /** Bytes in order; the callee may keep them. */
  onData(bytes: Uint8Array): void;
  /** The peer will send no more; writing is still possible. */
  onEnd(): void;
  /** `write` may be called again after it returned false. */
  onDrain(): void;
  /** Called once, last. */
  onClose(error: NetworkError | undefined): void;
}

export interface Connection {
  readonly remote: NetworkAddress;
  /** Must be called once, in the turn the connection is handed over. */
  setHandlers(handlers: ConnectionHandlers): void;
  /** Queues bytes; false means stop until `onDrain`. */
  write(bytes: Uint8Array): boolean;
  /** Stops or resumes `onData`. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes the writing side. */
  end(): void;
  /** Drops the connection and what is queued; idempotent. */
  destroy(): void;
}

export interface Listener {
  /** The bound address; a port of 0 is replaced by the one chosen. */
  readonly address: NetworkAddress;
  /** Accepts no more; established connections stay. */
  close(): Promise<void>;
}

export interface Network {
  listen(address: NetworkAddress, accept: (connection: Connection) => void): Promise<Listener>;
  dial(address: NetworkAddress, options: { readonly timeoutMs: number }): Promise<Connection>;
}
