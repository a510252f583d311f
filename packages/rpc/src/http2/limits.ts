/** Every bound of the HTTP/2 server that is no option. Listed in docs/internals/http2.md. */

/** What a client may send on one stream, and on all together, before it has to wait. */
export const HTTP2_STREAM_WINDOW_BYTES = 512 * 1024;
export const HTTP2_CONNECTION_WINDOW_BYTES = 2 * 1024 * 1024;
/** Dynamic table of the client's header fields, and of ours: HPACK's default. */
export const HTTP2_HEADER_TABLE_BYTES = 4096;
/** Frames that continue one header block. */
export const HTTP2_CONTINUATIONS_MAX = 16;
/** Encoded bytes of a header block beyond what its decoded form may have. */
export const HTTP2_HEADER_BLOCK_SLACK_BYTES = 16 * 1024;
/** Header lists above the maximum before a connection is given up. */
export const HTTP2_REFUSED_HEADERS_MAX = 20;
/** Streams that ended in RST_STREAM, whoever caused it: at once, and for ever. */
export const HTTP2_RESETS_BURST_MAX = 1_000;
export const HTTP2_RESETS_PER_SECOND_MAX = 33;
/** Frames that say nothing: empty DATA, PRIORITY, unknown types, answers nobody asked for. */
export const HTTP2_IDLE_FRAMES_BURST_MAX = 1_000;
export const HTTP2_IDLE_FRAMES_PER_SECOND_MAX = 100;
/** DATA frames that the client's window cut below this size count as small, and have a budget. */
export const HTTP2_SMALL_DATA_BYTES = 128;
export const HTTP2_SMALL_DATA_BURST_MAX = 1_000;
export const HTTP2_SMALL_DATA_PER_SECOND_MAX = 100;
/** Bytes waiting in the socket above which messages wait in their streams instead. */
export const HTTP2_SOCKET_QUEUE_BYTES_MAX = 512 * 1024;
/** Bytes waiting in the socket above which nothing more is read from it. */
export const HTTP2_READ_PAUSE_BYTES = 1024 * 1024;
/** Time in which a socket with bytes waiting must take some of them. */
export const HTTP2_SEND_STALL_MS_MAX = 120_000;
/** Output of a turn above which it goes out in parts. */
export const HTTP2_FLUSH_BYTES = 64 * 1024;
/** What an open stream is taken to cost besides its queues. */
export const HTTP2_STREAM_BYTES = 2048;
/** Time a client has to read the GOAWAY that tells it why. */
export const HTTP2_GOAWAY_LINGER_MS = 200;
/** How often connections are looked at; less if a time-out is shorter. */
export const HTTP2_SWEEP_INTERVAL_MS = 5_000;
/** Distinct request heads that a connection remembers decoded. */
export const HTTP2_HEADS_MAX = 8;
/** Outputs of about 96 KiB that are kept for connections in the middle of long answers. */
export const HTTP2_LARGE_OUTPUTS_MAX = 32;
/** Header blocks a connection knows as those of calls that come in batches, and their length. */
export const HTTP2_BATCHED_BLOCKS_MAX = 4;
export const HTTP2_BATCHED_BLOCK_BYTES_MAX = 512;
