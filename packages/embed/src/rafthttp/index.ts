/** etcd's peer protocol over HTTP/1.1. */

export { dialPlain } from "./dial.ts";
export { dialFrom, memberLocalAddress } from "./local-address.ts";
export type { Dial } from "./dial.ts";
export type { PeerIdentity } from "./headers.ts";
export { PeerHttpClient } from "./http-client.ts";
export type { PeerHttpClientOptions } from "./http-client.ts";
export * from "./peer-client.ts";
export { createPeerHandler } from "./peer-handler.ts";
export type { PeerHandler, PeerHandlerOptions } from "./peer-handler.ts";
export { PeerAnswerError } from "./peer-messages.ts";
export type { PeerVersions } from "./peer-messages.ts";
export { PeerServer } from "./peer-server.ts";
export type { PeerServerOptions } from "./peer-server.ts";
export type { TransportTimings } from "./peer-context.ts";
export type { SaveSnapshotDatabase } from "./snapshot-receiver.ts";
export type { SnapshotImage } from "./snapshot-sender.ts";
export { PeerTransportHTTP } from "./transport.ts";
export type { PeerTransportOptions } from "./transport.ts";
export { parsePeerURLs } from "./url-picker.ts";
export type { PeerURL } from "./url-picker.ts";
