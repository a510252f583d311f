/**
 * Everything a peer listener serves: raft, and the questions of `peer-client.ts`.
 *
 * Invariants: lease requests are answered by this member or refused, never passed on, so that two
 * members that take each other for the leader cannot send one around; bodies are bounded.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { SERVER_ERRORS } from "@etcd-ts/api";
import { EtcdError, hexFromID } from "@etcd-ts/base";
import type { Clock, Logger } from "@etcd-ts/base";
import { encodeMembers, ROOT_CONTEXT } from "@etcd-ts/etcdserver";
import type {
  AuthClaim,
  Completion,
  Member,
  MemberInfo,
  RequestContext,
  ServerOperations,
} from "@etcd-ts/etcdserver";
import { versionJSON } from "../etcdhttp/client-handler.ts";
import { allowMethod, reply, replyError, replyNotFound } from "../etcdhttp/replies.ts";
import { requestTarget } from "../etcdhttp/request-target.ts";
import { CLUSTER_ID_MISMATCH_TEXT, headerOf } from "./headers.ts";
import {
  CONNECTION_TIMEOUT_MS,
  HASH_KV_REQUEST_BYTES_MAX,
  LEASE_APPLY_TIMEOUT_MS,
  LEASE_REQUEST_BYTES_MAX,
} from "./limits.ts";
import { LEASE_CATCH_UP_TEXT } from "./peer-client.ts";
import { errorText } from "./peer-context.ts";
import {
  decodeHashKVRequest,
  decodeRenewRequest,
  decodeTimeToLiveRequest,
  encodeHashKVResponse,
  encodeRenewResponse,
  encodeTimeToLiveResponse,
} from "./peer-messages.ts";
import { BodyReader, BodyTooLargeError, refuse, refuseJSON } from "./request-body.ts";

export type PeerHandler = (request: IncomingMessage, response: ServerResponse) => void;

export interface PeerHandlerOptions {
  readonly server: ServerOperations;
  /** Serves all below `/raft`; undefined for a cluster of one, which has no peers. */
  readonly transport:
    | {
        readonly isStopped: boolean;
        handle(pathname: string, request: IncomingMessage, response: ServerResponse): void;
      }
    | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** For linearizable questions; etcd: 5 s and two elections. */
  readonly requestTimeoutMs: number;
  readonly bodyTimeoutMs?: number;
}

const PROMOTE_PREFIX = "/members/promote/";
const ID_MAX = 0xffff_ffff_ffff_ffffn;

export function createPeerHandler(options: PeerHandlerOptions): PeerHandler {
  const endpoints = new PeerEndpoints(options);
  return (request, response) => endpoints.handle(request, response);
}

class PeerEndpoints {
  readonly #options: PeerHandlerOptions;
  readonly #server: ServerOperations;
  readonly #bodies: BodyReader;

  constructor(options: PeerHandlerOptions) {
    this.#options = options;
    this.#server = options.server;
    this.#bodies = new BodyReader(options.clock, options.bodyTimeoutMs ?? CONNECTION_TIMEOUT_MS);
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    // What is no path is nothing that is served here.
    const pathname = requestTarget(request)?.pathname ?? "";
    const { transport } = this.#options;
    // The member is being closed, and with it what the answers are read from.
    if (transport?.isStopped === true) refuseStopped(response);
    else if (pathname === "/raft" || pathname.startsWith("/raft/")) {
      if (transport === undefined) replyNotFound(response);
      else transport.handle(pathname, request, response);
    } else if (pathname === "/version") this.#version(request, response);
    else if (pathname === "/members") this.#members(request, response);
    else if (pathname === "/members/hashkv") this.#run(this.#hashKV(request, response), response);
    else if (pathname.startsWith(PROMOTE_PREFIX)) this.#promote(pathname, request, response);
    else if (pathname === "/leases") this.#run(this.#renew(request, response), response);
    else if (pathname === "/leases/internal") {
      this.#run(this.#timeToLive(request, response), response);
    } else if (pathname === "/downgrade/enabled") this.#downgradeEnabled(request, response);
    else replyNotFound(response);
  }

  #run(handling: Promise<void>, response: ServerResponse): void {
    handling.catch((error: unknown) => {
      this.#options.logger.error("failed to serve a peer request", { error: errorText(error) });
      response.destroy();
      if (!(error instanceof EtcdError)) throw error;
    });
  }

  #nameCluster(response: ServerResponse): void {
    response.setHeader("X-Etcd-Cluster-ID", hexFromID(this.#server.facts().clusterID));
  }

  #context(timeoutMs: number, auth: AuthClaim | undefined): RequestContext {
    return { auth, deadlineMs: this.#options.clock.monotonicMs() + timeoutMs };
  }

  #version(request: IncomingMessage, response: ServerResponse): void {
    if (!allowMethod(request, response, "GET")) return;
    reply(response, 200, "application/json", versionJSON(this.#server));
  }

  #members(request: IncomingMessage, response: ServerResponse): void {
    if (!allowMethod(request, response, "GET")) return;
    this.#nameCluster(response);
    this.#server.memberList(false, ROOT_CONTEXT, (error, list) => {
      if (error !== undefined) replyError(response, 500, error.message);
      else replyMembers(response, list!.members);
    });
  }

  #promote(pathname: string, request: IncomingMessage, response: ServerResponse): void {
    if (!allowMethod(request, response, "POST")) return;
    this.#nameCluster(response);
    const text = pathname.slice(PROMOTE_PREFIX.length);
    const id = /^\d{1,20}$/.test(text) ? BigInt(text) : ID_MAX + 1n;
    if (id > ID_MAX) {
      refuse(request, response, 404, `member ${text} not found in cluster`);
      return;
    }
    const token = headerOf(request.headers, "authorization");
    const auth: AuthClaim | undefined = token === "" ? undefined : { kind: "token", token };
    const context = this.#context(this.#options.requestTimeoutMs, auth);
    this.#server.memberPromote(id, context, (error, result) => {
      if (error === undefined) {
        replyMembers(response, result!.members);
        return;
      }
      this.#options.logger.warn("failed to promote a member", {
        "member-id": hexFromID(id),
        error: error.message,
      });
      if (error === SERVER_ERRORS.memberIDNotFound) {
        refuse(request, response, 404, error.message);
      } else if (
        error === SERVER_ERRORS.memberNotLearner ||
        error === SERVER_ERRORS.learnerNotReady
      ) {
        refuse(request, response, 412, error.message);
      } else refuseJSON(request, response, 500, "Internal Server Error");
    });
  }

  async #hashKV(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!allowMethod(request, response, "GET")) return;
    const { clusterID } = this.#server.facts();
    const asked = headerOf(request.headers, "x-etcd-cluster-id");
    if (asked !== "" && asked !== hexFromID(clusterID)) {
      refuse(request, response, 412, CLUSTER_ID_MISMATCH_TEXT);
      return;
    }
    const body = await this.#read(request, response, HASH_KV_REQUEST_BYTES_MAX);
    if (body === undefined) return;
    const revision = decodeHashKVRequest(body);
    if (revision === undefined) {
      refuse(request, response, 400, "error unmarshalling request");
      return;
    }
    this.#server.hashKV(revision, ROOT_CONTEXT, (error, result) => {
      if (error !== undefined) {
        this.#options.logger.warn("failed to get hashKV", {
          "requested-revision": revision,
          error: error.message,
        });
        replyError(response, 400, error.message);
        return;
      }
      this.#nameCluster(response);
      reply(response, 200, "application/json", encodeHashKVResponse(result!));
    });
  }

  /** On failure answers, and is undefined. */
  async #read(
    request: IncomingMessage,
    response: ServerResponse,
    bytesMax: number,
  ): Promise<Uint8Array | undefined> {
    try {
      return await this.#bodies.read(request, bytesMax);
    } catch (error) {
      if (error instanceof BodyTooLargeError) {
        refuse(request, response, 413, "request body too large");
      } else if (error instanceof EtcdError) {
        refuse(request, response, 400, "error reading body");
      } else throw error;
      return undefined;
    }
  }

  async #renew(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const id = await this.#readLease(request, response, decodeRenewRequest);
    if (id === undefined) return;
    const server = this.#server;
    this.#askLessor<number>(
      response,
      400,
      (context, done) => server.leaseRenew(id, context, done),
      (ttl) => encodeRenewResponse(id, ttl),
    );
  }

  async #timeToLive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = await this.#readLease(request, response, decodeTimeToLiveRequest);
    if (asked === undefined) return;
    const server = this.#server;
    this.#askLessor(
      response,
      500,
      (context, done) =>
        server.leaseTimeToLive(asked.id, asked.withKeys, context, (error, result) => {
          // The client call has an answer for a lease that is not there; this one has an error.
          const isMissing = error === undefined && result!.ttlSeconds === -1;
          done(isMissing ? SERVER_ERRORS.leaseNotFound : error, isMissing ? undefined : result);
        }),
      encodeTimeToLiveResponse,
    );
  }

  /** On failure answers, and is undefined. */
  async #readLease<T>(
    request: IncomingMessage,
    response: ServerResponse,
    decode: (body: Uint8Array) => T,
  ): Promise<T | undefined> {
    if (request.method !== "POST") {
      refuse(request, response, 405, "Method Not Allowed");
      return undefined;
    }
    const body = await this.#read(request, response, LEASE_REQUEST_BYTES_MAX);
    if (body === undefined) return undefined;
    try {
      return decode(body);
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      refuse(request, response, 400, "error unmarshalling request");
      return undefined;
    }
  }

  /** Asks this member's lessor, if it is the leader's; waits no longer than a peer does. */
  #askLessor<T>(
    response: ServerResponse,
    notPrimaryStatus: number,
    ask: (context: RequestContext, done: Completion<T>) => void,
    encode: (result: T) => Uint8Array,
  ): void {
    if (!this.#server.facts().isLeader) {
      replyError(response, notPrimaryStatus, SERVER_ERRORS.notPrimaryLessor.message);
      return;
    }
    let isAnswered = false;
    const timer = this.#options.clock.setTimer(LEASE_APPLY_TIMEOUT_MS, () => {
      isAnswered = true;
      replyError(response, 408, LEASE_CATCH_UP_TEXT);
    });
    // The member that asks has looked into the rights of its client.
    const context = this.#context(LEASE_APPLY_TIMEOUT_MS, ROOT_CONTEXT.auth);
    ask(context, (error, result) => {
      timer.cancel();
      if (isAnswered) return;
      if (error === undefined) {
        const body = encode(result!);
        response.writeHead(200, {
          "Content-Type": "application/protobuf",
          "Content-Length": body.length,
        });
        response.end(body);
      } else if (error === SERVER_ERRORS.leaseNotFound) replyError(response, 404, error.message);
      else replyError(response, leaseStatus(error, notPrimaryStatus), error.message);
    });
  }

  #downgradeEnabled(request: IncomingMessage, response: ServerResponse): void {
    if (!allowMethod(request, response, "GET")) return;
    this.#nameCluster(response);
    const server = this.#server;
    const context = this.#context(this.#options.requestTimeoutMs, ROOT_CONTEXT.auth);
    server.linearizableRead(context, (error) => {
      if (error !== undefined) {
        replyError(response, 500, `failed linearized read: ${error.message}`);
        return;
      }
      const { enabled } = server.currentStatus().downgrade;
      reply(response, 200, "text/plain", String(enabled));
    });
  }
}

function refuseStopped(response: ServerResponse): void {
  response.setHeader("Connection", "close");
  replyError(response, 503, SERVER_ERRORS.stopped.message);
}

function leaseStatus(error: EtcdError, notPrimaryStatus: number): number {
  return error === SERVER_ERRORS.notPrimaryLessor ? notPrimaryStatus : 400;
}

function replyMembers(response: ServerResponse, members: readonly MemberInfo[]): void {
  reply(response, 200, "application/json", `${encodeMembers(members as readonly Member[])}\n`);
}
