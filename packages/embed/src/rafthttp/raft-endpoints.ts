/**
 * The raft side of a peer listener: `/raft`, `/raft/stream/...`, `/raft/snapshot`, `/raft/probing`.
 *
 * Each request passes, in this order: its method; versions and cluster (412); what its path and
 * its body say. Statuses and texts are etcd's, because peers act on them: 410 stops a member that
 * was removed, 412, 404 and 500 are tried again. A message that is not for this member, or from one
 * that was removed, is no 403, which would stop its sender for good: that may be a member of good
 * standing that has not heard yet who lives at this address now.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { SERVER_VERSION } from "@etcd-ts/api";
import { decodeMessage, EtcdError, hexFromID, WireFormatError } from "@etcd-ts/base";
import { MessageCodec } from "@etcd-ts/raft";
import type { Message } from "@etcd-ts/raft";
import { allowMethod, reply, replyError, replyNotFound } from "../etcdhttp/replies.ts";
import type { StreamType } from "./frames.ts";
import { headerOf, parseID, refusalOf } from "./headers.ts";
import { PIPELINE_MESSAGE_BYTES_MAX } from "./limits.ts";
import { UNKNOWN_PEER, UNKNOWN_SNAPSHOT_SENDER } from "./metrics.ts";
import type { MemberPeer } from "./peer.ts";
import { errorText, processMessage } from "./peer-context.ts";
import type { PeerContext } from "./peer-context.ts";
import { BodyReader, refuse, refuseAndClose } from "./request-body.ts";
import { SnapshotReceiver } from "./snapshot-receiver.ts";
import type { SaveSnapshotDatabase } from "./snapshot-receiver.ts";

/** The peers a transport knows. */
export interface PeerBook {
  member(id: bigint): MemberPeer | undefined;
  /** Members, and strangers we answer. */
  isKnown(id: bigint): boolean;
  /** Remembers where a sender that is no member can be answered. */
  addRemote(id: bigint, peerURLs: readonly string[]): void;
}

const STREAM_PREFIX = "/raft/stream/";
const STREAM_TYPES: ReadonlyMap<string, StreamType> = new Map([
  ["/raft/stream/message", "message"],
  ["/raft/stream/msgapp", "msgapp"],
]);

export class RaftEndpoints {
  readonly #context: PeerContext;
  readonly #peers: PeerBook;
  readonly #bodies: BodyReader;
  readonly #snapshots: SnapshotReceiver;

  constructor(context: PeerContext, peers: PeerBook, save: SaveSnapshotDatabase) {
    this.#context = context;
    this.#peers = peers;
    this.#bodies = new BodyReader(context.clock, context.timings.connectionTimeoutMs);
    this.#snapshots = new SnapshotReceiver(context, save, (id) => peers.isKnown(id));
  }

  handle(pathname: string, request: IncomingMessage, response: ServerResponse): void {
    if (pathname === "/raft") this.#run(this.#takeMessage(request, response), response);
    else if (pathname === "/raft/snapshot") {
      this.#run(this.#takeSnapshot(request, response), response);
    } else if (pathname === "/raft/probing") this.#answerProbe(response);
    else if (pathname.startsWith(STREAM_PREFIX)) this.#openStream(pathname, request, response);
    else replyNotFound(response);
  }

  /** A request whose handling failed costs its connection, not the member. */
  #run(handling: Promise<void>, response: ServerResponse): void {
    handling.catch((error: unknown) => {
      this.#context.logger.error("failed to serve a peer request", { error: errorText(error) });
      response.destroy();
      if (!(error instanceof EtcdError)) throw error;
    });
  }

  async #takeMessage(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!allowMethod(request, response, "POST")) return;
    if (!this.#accept(request, response)) return;
    this.#addRemote(request);
    const message = await this.#readMessage(request, response);
    if (message === undefined) return;
    const refusal = processMessage(this.#context, message);
    if (refusal !== undefined) {
      this.#context.logger.warn("failed to process Raft message", {
        "local-member-id": hexFromID(this.#context.identity.memberID),
        error: refusal,
      });
      refuseAndClose(response, 500, "error processing raft message");
    } else {
      response.writeHead(204);
      response.end();
    }
  }

  /** On failure answers, and is undefined. */
  async #readMessage(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<Message | undefined> {
    const { identity, logger, metrics } = this.#context;
    let problem = "read";
    try {
      const body = await this.#bodies.read(request, PIPELINE_MESSAGE_BYTES_MAX);
      problem = "unmarshal";
      const message = decodeMessage(MessageCodec, body);
      metrics.receivedBytes.labels({ From: this.#labelOf(message.from) }).inc(body.length);
      return message;
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      const isFormat = error instanceof WireFormatError;
      logger.warn(`failed to ${problem} Raft message`, {
        "local-member-id": hexFromID(identity.memberID),
        error: error.message,
      });
      const text = `error ${isFormat ? "unmarshalling" : "reading"} raft message`;
      refuse(request, response, 400, text);
      metrics.receivedFailures.labels({ From: UNKNOWN_PEER }).inc();
      return undefined;
    }
  }

  async #takeSnapshot(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isAllowed = allowMethod(request, response, "POST");
    if (isAllowed && this.#accept(request, response)) {
      this.#addRemote(request);
      await this.#snapshots.receive(request, response);
      return;
    }
    const { snapshotReceiveFailures } = this.#context.metrics;
    snapshotReceiveFailures.labels({ From: UNKNOWN_SNAPSHOT_SENDER }).inc();
  }

  #openStream(pathname: string, request: IncomingMessage, response: ServerResponse): void {
    const { identity, inbound, logger } = this.#context;
    if (!allowMethod(request, response, "GET")) return;
    response.setHeader("X-Server-Version", SERVER_VERSION);
    if (!this.#accept(request, response)) return;
    const cut = pathname.lastIndexOf("/");
    const type = STREAM_TYPES.get(pathname.slice(0, cut));
    const fields = { "local-member-id": hexFromID(identity.memberID), path: pathname };
    if (type === undefined) {
      logger.debug("ignored unexpected streaming request path", fields);
      replyError(response, 404, "invalid path");
      return;
    }
    const from = parseID(pathname.slice(cut + 1));
    if (from === undefined) {
      logger.warn("failed to parse path into ID", fields);
      replyError(response, 404, "invalid from");
      return;
    }
    const ids = {
      "local-member-id": hexFromID(identity.memberID),
      "remote-peer-id-from": hexFromID(from),
    };
    if (inbound.isIDRemoved(from)) {
      logger.warn("rejected stream from remote peer because it was removed", ids);
      replyError(response, 410, "removed member");
      return;
    }
    const peer = this.#peers.member(from);
    if (peer === undefined) {
      this.#addRemote(request, from);
      logger.warn("failed to find remote peer in cluster", {
        ...ids,
        "cluster-id": hexFromID(identity.clusterID),
      });
      replyError(response, 404, "error sender not found");
      return;
    }
    const to = headerOf(request.headers, "x-raft-to");
    if (to !== hexFromID(identity.memberID)) {
      logger.warn("ignored streaming request; ID mismatch", {
        ...ids,
        "remote-peer-id-header": to,
        "cluster-id": hexFromID(identity.clusterID),
      });
      replyError(response, 412, "to field mismatch");
      return;
    }
    response.writeHead(200);
    response.flushHeaders();
    peer.attach(type, response);
  }

  #answerProbe(response: ServerResponse): void {
    const now = new Date(this.#context.clock.wallMs()).toISOString();
    reply(response, 200, "text/plain; charset=utf-8", `{"OK":true,"Now":"${now}"}\n`);
  }

  /** Names the cluster in the answer and checks the headers; answers 412 if they are refused. */
  #accept(request: IncomingMessage, response: ServerResponse): boolean {
    const { identity, logger } = this.#context;
    response.setHeader("X-Etcd-Cluster-ID", hexFromID(identity.clusterID));
    const refusal = refusalOf(request.headers, identity, logger);
    if (refusal === undefined) return true;
    refuse(request, response, 412, refusal);
    return false;
  }

  #addRemote(request: IncomingMessage, sender?: bigint): void {
    const from = sender ?? parseID(headerOf(request.headers, "x-server-from"));
    const urls = headerOf(request.headers, "x-peerurls");
    if (from !== undefined && urls !== "") this.#peers.addRemote(from, urls.split(","));
  }

  #labelOf(id: bigint): string {
    return this.#peers.isKnown(id) ? hexFromID(id) : UNKNOWN_PEER;
  }
}
