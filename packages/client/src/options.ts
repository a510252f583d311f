/** How a client is set up, and what every call may say. */

import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { ConnectionOptions } from "node:tls";
import { GRPC_CODES, RpcError } from "@etcd-ts/api";

/** PEM texts, or files of them, which are read for each new connection. */
export interface TlsOptions {
  /** Whom to trust; the system's authorities if left out. */
  readonly ca?: string | Uint8Array;
  readonly caFile?: string;
  /** The client's own certificate and key; both or none. */
  readonly cert?: string | Uint8Array;
  readonly certFile?: string;
  readonly key?: string | Uint8Array;
  readonly keyFile?: string;
  /** Instead of the endpoint's host, when checking the server's certificate. */
  readonly serverName?: string;
  /** Accepts any certificate. For tests only. */
  readonly insecureSkipVerify?: boolean;
}

/** The `code` of failures that lie in the client's own certificates or keys. */
export const TLS_MATERIAL = "TLS_MATERIAL";

export interface ClientOptions {
  /** At least one; calls take turns among those that work. */
  readonly endpoints: readonly string[];
  /** So often the endpoints are taken anew from the list of members. Default: never. */
  readonly autoSyncIntervalMs?: number;
  /** How long one endpoint may take to accept. Default 2 s. */
  readonly dialTimeoutMs?: number;
  /** Of calls that give no `timeoutMs`. Default: none, they wait as long as it takes. */
  readonly timeoutMs?: number;
  /** Endpoints without a scheme use TLS if this is given; `https://` ones always do. */
  readonly tls?: TlsOptions;
  readonly username?: string;
  readonly password?: string;
  /**
   * So often a connection with calls under way is asked for a sign of life. Default and least 10 s,
   * for servers refuse more; 0 for never.
   */
  readonly keepaliveTimeMs?: number;
  /** Without a sign of life for so long it is given up. Default 6 s. */
  readonly keepaliveTimeoutMs?: number;
  /** Asks for signs of life also while no call is under way. Servers of etcd refuse that. */
  readonly permitWithoutStream?: boolean;
  /** Leaves members out that call themselves unhealthy. One stream for each connection. */
  readonly healthCheck?: boolean;
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
  /**
   * Doing it twice is as good as doing it once: a write that may have happened is sent again, as a
   * read is.
   */
  readonly repeatable?: boolean;
}

/** What `tls.connect` wants. @throws {RpcError} TLS_MATERIAL */
export async function tlsConnectOptions(options: TlsOptions): Promise<ConnectionOptions> {
  const made: ConnectionOptions = { ALPNProtocols: ["h2"], minVersion: "TLSv1.2" };
  try {
    const [ca, cert, key] = await Promise.all([
      pem(options.ca, options.caFile),
      pem(options.cert, options.certFile),
      pem(options.key, options.keyFile),
    ]);
    if ((cert === undefined) !== (key === undefined)) {
      throw new Error("a certificate and its key must both be given");
    }
    if (ca !== undefined && !String(ca).includes("-----BEGIN")) {
      throw new Error("the authorities' file holds no certificate");
    }
    made.secureContext = createSecureContext({
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      minVersion: "TLSv1.2",
    });
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new RpcError(TLS_MATERIAL, GRPC_CODES.UNAVAILABLE, `tls: ${text}`, { cause });
  }
  if (options.serverName !== undefined && options.serverName !== "") {
    made.servername = options.serverName;
  }
  if (options.insecureSkipVerify === true) made.rejectUnauthorized = false;
  return made;
}

async function pem(
  given: string | Uint8Array | undefined,
  file: string | undefined,
): Promise<string | Buffer | undefined> {
  if (given !== undefined) return typeof given === "string" ? given : Buffer.from(given);
  return file === undefined || file === "" ? undefined : readFile(file);
}
