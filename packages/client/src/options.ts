/** How a client is set up, and what every call may say. */

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
