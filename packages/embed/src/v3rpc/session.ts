/**
 * What Lock and Election do with the member on behalf of one call: reads, transactions, and waits
 * for a key to go.
 *
 * Errors of the member reach the caller as `Unknown` with etcd's text: to etcd these services are
 * clients of the member, and what a client was told is no status of its own.
 */

import {
  CompareResult,
  CompareTarget,
  EventType,
  GRPC_CODES,
  LeaseGrantRequestCodec,
  RangeRequestCodec,
  RpcError,
  rpcErrorFrom,
  SERVER_ERRORS,
  SortOrder,
  SortTarget,
  TxnRequestCodec,
} from "@etcd-ts/api";
import type {
  Compare,
  DeleteRangeResponse,
  KeyValue,
  LeaseGrantResponse,
  PutRequest,
  RangeRequest,
  RangeResponse,
  RequestOp,
  TxnResponse,
} from "@etcd-ts/api";
import { bytesFromLatin1, concatBytes, EMPTY_BYTES, invariant } from "@etcd-ts/base";
import type { EtcdError } from "@etcd-ts/base";
import { checkDeleteRangeRequest, checkTxnRequest, INTERNAL_CONTEXT } from "@etcd-ts/etcdserver";
import type { Completion, RequestContext, WatchPermit } from "@etcd-ts/etcdserver";
import type { UnaryCall } from "@etcd-ts/rpc";
import type { WatchBatch } from "@etcd-ts/storage";

import { CallLife } from "./call-life.ts";
import { contextOf } from "./headers.ts";
import type { EndableCall } from "./open-calls.ts";
import type { ServiceParts } from "./parts.ts";

/** A session of a caller that brings no lease. */
const SESSION_TTL_SECONDS = 60;

const SLASH = new Uint8Array([0x2f]);
const AFTER_SLASH = 0x30;

/** Runs `work` for a unary call and answers with what comes of it. */
export function answerWith<O>(
  parts: ServiceParts,
  call: UnaryCall<O>,
  work: (session: Session) => Promise<O>,
): void {
  const session = new Session(parts, call);
  work(session).then(
    (response) => {
      session.close();
      call.respond(response);
    },
    (error: unknown) => {
      session.close();
      call.fail(rpcErrorFrom(error));
    },
  );
}

export class Session {
  readonly life: CallLife;
  readonly #parts: ServiceParts;
  readonly #context: RequestContext;

  constructor(parts: ServiceParts, call: EndableCall) {
    this.#parts = parts;
    this.#context = contextOf(call);
    this.life = new CallLife(call, parts.openCalls);
  }

  close(): void {
    this.life.close();
  }

  /** The lease itself, or a new one nobody keeps alive if it is 0n. */
  async leaseOrNew(lease: bigint): Promise<bigint> {
    if (lease !== 0n) return lease;
    const request = { ...LeaseGrantRequestCodec.create(), ttl: SESSION_TTL_SECONDS };
    const granted = await this.#ask<LeaseGrantResponse>((done) =>
      this.#parts.server.leaseGrant(request, this.#context, done),
    );
    return granted.id;
  }

  range(request: RangeRequest): Promise<RangeResponse> {
    return this.#ask((done) => this.#parts.server.range(request, this.#context, done));
  }

  get(key: Uint8Array): Promise<RangeResponse> {
    return this.range(rangeRequest({ key }));
  }

  txn(
    compare: Compare,
    success: readonly RequestOp[],
    failure: readonly RequestOp[],
    context: RequestContext = this.#context,
  ): Promise<TxnResponse> {
    const request = { ...TxnRequestCodec.create(), compare: [compare], success, failure };
    const refusal = checkTxnRequest(request, this.#parts.config.txnOpsMax);
    return this.#ask((done) => {
      if (refusal === undefined) this.#parts.server.txn(request, context, done);
      else done(refusal, undefined);
    });
  }

  delete(key: Uint8Array, context: RequestContext = this.#context): Promise<DeleteRangeResponse> {
    const request = { key, rangeEnd: EMPTY_BYTES, prevKV: false };
    const refusal = checkDeleteRangeRequest(request);
    return this.#ask((done) => {
      if (refusal === undefined) this.#parts.server.deleteRange(request, context, done);
      else done(refusal, undefined);
    });
  }

  /** Waits until no key under `prefix` is older than `createRevisionMax`, one after another. */
  async waitForOlder(prefix: Uint8Array, createRevisionMax: number): Promise<void> {
    invariant(createRevisionMax > 0, () => `waitForOlder: up to revision ${createRevisionMax}`);
    const newestFirst = rangeRequest({
      ...prefixRange(prefix),
      limit: 1,
      sortTarget: SortTarget.CREATE,
      sortOrder: SortOrder.DESCEND,
      maxCreateRevision: createRevisionMax,
    });
    for (;;) {
      const response = await this.range(newestFirst);
      this.life.throwIfEnded();
      const [predecessor] = response.kvs;
      if (predecessor === undefined) return;
      await this.#waitForDelete(predecessor.key, response.header!.revision);
    }
  }

  async #waitForDelete(key: Uint8Array, fromRevision: number): Promise<void> {
    const feed = await this.feed(key, EMPTY_BYTES, fromRevision);
    try {
      for (;;) {
        const { events } = await feed.next();
        if (events.some(({ type }) => type === EventType.DELETE)) return;
      }
    } finally {
      feed.close();
    }
  }

  /** The events of a range from a revision on, for those who may read it. */
  async feed(key: Uint8Array, rangeEnd: Uint8Array, fromRevision: number): Promise<EventFeed> {
    const permit = await this.#ask<WatchPermit>((done) =>
      this.#parts.server.watchPermit({ key, rangeEnd }, this.#context, done),
    );
    this.life.throwIfEnded();
    return new EventFeed(this.#parts, this.life, { key, rangeEnd, fromRevision, permit });
  }

  #ask<T>(run: (done: Completion<T>) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      run((error, result) => {
        if (error === undefined) resolve(result as T);
        else reject(asClientWasTold(error));
      });
    });
  }
}

/** For work whose caller has gone: statuses have nobody to go to. @throws what is no status */
export function ignoreStatus(error: unknown): void {
  if (!(error instanceof RpcError)) throw error;
}

/** Work that has to be done although its call is over. */
export const CLEANUP_CONTEXT = INTERNAL_CONTEXT;

interface FeedOptions {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly fromRevision: number;
  readonly permit: WatchPermit;
}

/** One watch, read batch by batch. */
export class EventFeed {
  readonly #life: CallLife;
  readonly #stream: ReturnType<ServiceParts["server"]["store"]["newWatchStream"]>;
  readonly #permit: WatchPermit;
  readonly #refusal: EtcdError | undefined;

  constructor(
    { server }: ServiceParts,
    life: CallLife,
    { key, rangeEnd, fromRevision, permit }: FeedOptions,
  ) {
    this.#life = life;
    this.#permit = permit;
    this.#stream = server.store.newWatchStream();
    const begun = this.#stream.watch({ key, rangeEnd, startRevision: fromRevision });
    this.#refusal = typeof begun === "number" ? undefined : begun;
  }

  /** The next batch with events. @throws {RpcError} if the call ends, or the past is compacted */
  async next(): Promise<WatchBatch> {
    if (this.#refusal !== undefined) throw asClientWasTold(this.#refusal);
    for (;;) {
      const batch = this.#stream.take(1)[0] ?? (await this.#wait());
      if (batch.compactRevision > 0) throw asClientWasTold(SERVER_ERRORS.compacted);
      const refusal = this.#permit.refusal();
      if (refusal !== undefined) throw asClientWasTold(refusal);
      if (batch.events.length > 0) return batch;
    }
  }

  close(): void {
    this.#stream.close();
  }

  #wait(): Promise<WatchBatch> {
    return this.#life.wait((resolve) => {
      this.#stream.onReady(() => {
        const [batch] = this.#stream.take(1);
        if (batch !== undefined) resolve(batch);
      });
      return () => this.#stream.onReady(() => undefined);
    });
  }
}

/** `Unknown`, with the text the client of an in-process member would have got. */
export function asClientWasTold(error: EtcdError): RpcError {
  const { code, message } = rpcErrorFrom(error);
  return new RpcError(code, GRPC_CODES.UNKNOWN, message, { cause: error });
}

// Requests

export function rangeRequest(fields: Partial<RangeRequest>): RangeRequest {
  return { ...RangeRequestCodec.create(), ...fields };
}

/** The oldest key under `prefix`: who holds the lock, or leads. */
export function oldestUnder(prefix: Uint8Array): RangeRequest {
  return rangeRequest({
    ...prefixRange(prefix),
    limit: 1,
    sortTarget: SortTarget.CREATE,
    sortOrder: SortOrder.ASCEND,
  });
}

export function putOp(key: Uint8Array, value: Uint8Array, lease: bigint): RequestOp {
  const put: PutRequest = {
    key,
    value,
    lease,
    prevKV: false,
    ignoreValue: false,
    ignoreLease: false,
  };
  return { kind: "put", put };
}

/** That `key` was created at `createRevision`; 0 for a key that does not exist. */
export function createdAt(key: Uint8Array, createRevision: number): Compare {
  return {
    result: CompareResult.EQUAL,
    target: CompareTarget.CREATE,
    key,
    rangeEnd: EMPTY_BYTES,
    value: { kind: "createRevision", createRevision },
  };
}

/** The range that was read by operation `i` of a transaction. */
export function rangeOf(response: TxnResponse, i: number): readonly KeyValue[] {
  const op = response.responses[i];
  invariant(op?.kind === "range", () => `rangeOf: operation ${i} is ${op?.kind}`);
  return op.range.kvs;
}

// Keys

/** `<name>/`: under it stand the keys of all who wait. */
export function prefixOf(name: Uint8Array): Uint8Array {
  return concatBytes([name, SLASH]);
}

/** `<name>/<lease in hex>`. */
export function sessionKey(prefix: Uint8Array, lease: bigint): Uint8Array {
  return concatBytes([prefix, bytesFromLatin1(lease.toString(16))]);
}

/** All keys that begin with `prefix`, which ends in a slash. */
export function prefixRange(prefix: Uint8Array): { key: Uint8Array; rangeEnd: Uint8Array } {
  const rangeEnd = prefix.slice();
  invariant(rangeEnd.at(-1) === SLASH[0], () => "prefixRange: no slash at the end");
  rangeEnd[rangeEnd.length - 1] = AFTER_SLASH;
  return { key: prefix, rangeEnd };
}
