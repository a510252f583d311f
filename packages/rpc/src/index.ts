/** gRPC over HTTP/2, in-process calls, and the JSON gateway, all over one `ServiceTable`. */

export * from "./call.ts";
export * from "./metadata.ts";
export * from "./service-table.ts";
export { ServerCall } from "./server-call.ts";
export type { CallSink, CallStart } from "./server-call.ts";
export * from "./server/transport.ts";
export * from "./server/rpc-server.ts";
export type { CallBatch } from "./http2/call-batch.ts";
export { FrameTransport } from "./http2/frame-transport.ts";
export { FrameHttpRequest, FrameHttpResponse } from "./http2/http-stream.ts";
export * from "./http2/limits.ts";
export { Http2Transport } from "./server/http2-transport.ts";
export type { CallOptions, ClientExchange, RpcChannel } from "./client/channel.ts";
export { ClientStream } from "./client/channel.ts";
export * from "./client/in-process-channel.ts";
export * from "./client/rpc-client.ts";
export * from "./gateway/gateway.ts";
export * from "./health.ts";
export * from "./client/tls-dial.ts";
export * from "./tls-errors.ts";
