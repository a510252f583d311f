/**
 * Every bound and interval of the peer protocol in one place. Numbers that a peer can notice are
 * etcd's; the rest bound what a peer that misbehaves can cost.
 */

/** One framed message of a stream; etcd's number. Memory is taken as bytes arrive, not before. */
export const STREAM_FRAME_BYTES_MAX = 512 * 1024 * 1024;
/** The message in front of a database; etcd's number. */
export const SNAPSHOT_MESSAGE_BYTES_MAX = 64 * 1024 * 1024;
/** One message posted to `/raft`. */
export const PIPELINE_MESSAGE_BYTES_MAX = 64 * 1024 * 1024;
/** Bodies of all requests that are held in memory at once. */
export const REQUEST_BODIES_BYTES_MAX = 256 * 1024 * 1024;
/** Body of a lease request; etcd's number. */
export const LEASE_REQUEST_BYTES_MAX = 64 * 1024;
export const HASH_KV_REQUEST_BYTES_MAX = 64 * 1024;

/** Answers to posted messages and probes. */
export const SMALL_RESPONSE_BYTES_MAX = 64 * 1024;
/** `/members`: thousands of members. */
export const MEMBERS_RESPONSE_BYTES_MAX = 4 * 1024 * 1024;
/** Answers to forwarded lease requests, which may carry keys; etcd's number. */
export const LEASE_RESPONSE_BYTES_MAX = 100 * 1024 * 1024;
export const RESPONSE_HEADER_BYTES_MAX = 16 * 1024;

/** Messages that wait for a stream to drain; etcd's number. */
export const STREAM_QUEUE_MESSAGES_MAX = 4096;
/** Encoded bytes handed to the socket of a stream before messages wait in the queue. */
export const STREAM_BUFFER_BYTES_MAX = 1024 * 1024;
/** Messages that wait for a pipeline; etcd's number. */
export const PIPELINE_QUEUE_MESSAGES_MAX = 64;
/** Posts of one pipeline at a time; etcd's number. */
export const PIPELINE_WORKERS = 4;
/** Databases on their way to other members; etcd's number. */
export const SNAPSHOT_SENDS_MAX = 16;
/** Databases on their way in. */
export const SNAPSHOT_RECEIVES_MAX = 4;
/** Senders that are not (yet) members and told us where they can be answered. */
export const REMOTES_MAX = 64;
export const REMOTE_URLS_MAX = 16;
/** Connections of one peer listener; a cluster of seven needs about fifty. */
export const PEER_CONNECTIONS_MAX = 1024;

/** A connection on which nothing moves this long is broken; etcd's number. */
export const CONNECTION_TIMEOUT_MS = 5000;
/** Heartbeats of a stream that is otherwise silent, so that the other side sees it lives. */
export const LINK_HEARTBEATS_PER_TIMEOUT = 3;
/** Between two dials of one stream; etcd's number. */
export const DIAL_RETRY_MS = 100;
/** For a posted message to be answered. */
export const PIPELINE_TIMEOUT_MS = 10_000;
/** A database transfer that does not move this long, the wait for the answer included, has failed. */
export const SNAPSHOT_STALL_TIMEOUT_MS = 60_000;
/** Between two progress events of a database transfer. */
export const SNAPSHOT_PROGRESS_INTERVAL_MS = 5000;
/** Connections kept for the next request; below the idle time of a peer's listener. */
export const IDLE_CONNECTION_MS = 4500;
export const IDLE_CONNECTIONS_MAX = 4;

/** etcd's numbers: below the idle time, so that probing keeps its connection. */
export const PROBE_INTERVAL_MS = 4000;
export const PROBE_TIMEOUT_MS = 4000;
export const PROBE_REPORT_INTERVAL_MS = 30_000;
export const PROBE_UNHEALTHY_REPORT_INTERVAL_MS = 5000;
export const CLOCK_DRIFT_WARNING_MS = 1000;

/** How long a leader may take to catch up before a forwarded lease request fails; etcd's number. */
export const LEASE_APPLY_TIMEOUT_MS = 1000;
