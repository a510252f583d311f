/** How a client is set up, and what every call may say. */

import type { ConnectionOptions } from "node:tls";

export interface TlsOptions {
  /** PEM: whom to trust; the system's authorities if left out. */
  readonly ca?: string | Uint8Array;
  /** PEM: the client's own certificate and key; both or none. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  /** Instead of the endpoint's host, when checking the server's certificate. */
  readonly serverName?: string;
  /** Accepts any certificate. For tests only. */
  readonly skipVerify?: boolean;
}

export interface ClientOptions {
  /** At least one; the client stays with one that works and goes on to the next when it fails. */
  readonly endpoints: readonly string[];
  /** How long one endpoint may take to accept. Default 2 s. */
  readonly dialTimeoutMs?: number;
  /** Of calls that give no `timeoutMs`. Default: none, they wait as long as it takes. */
  readonly timeoutMs?: number;
  /** Endpoints without a scheme use TLS if this is given; `https://` ones always do. */
  readonly tls?: TlsOptions;
  readonly username?: string;
  readonly password?: string;
  /** A connection silent for so long is asked for a sign of life. Default 10 s. */
  readonly keepaliveTimeMs?: number;
  /** Without a sign of life for so long it is given up. Default 6 s. */
  readonly keepaliveTimeoutMs?: number;
  /** Default 2^31 - 1. */
  readonly receiveMessageBytesMax?: number;
  /** Requests above it are refused here, before they are sent. Default 2 MiB. */
  readonly sendMessageBytesMax?: number;
  /** Told of every attempt that failed. */
  readonly onRetry?: (attempt: FailedAttempt) => void;
}

export interface FailedAttempt {
  readonly endpoint: string | undefined;
  readonly method: string | undefined;
  readonly error: Error;
}

export interface RequestOptions {
  /** From now. `Infinity` for none. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Fails at once at a member that has no leader. */
  readonly requireLeader?: boolean;
}

/** What `tls.connect` wants. */
export function tlsConnectOptions(options: TlsOptions): ConnectionOptions {
  const made: ConnectionOptions = { ALPNProtocols: ["h2"], minVersion: "TLSv1.2" };
  if (options.ca !== undefined) made.ca = asPEM(options.ca);
  if (options.cert !== undefined) made.cert = asPEM(options.cert);
  if (options.key !== undefined) made.key = asPEM(options.key);
  if (options.serverName !== undefined && options.serverName !== "") {
    made.servername = options.serverName;
  }
  if (options.skipVerify === true) made.rejectUnauthorized = false;
  return made;
}

function asPEM(text: string | Uint8Array): string | Buffer {
  return typeof text === "string" ? text : Buffer.from(text);
}
