/**
 * Reads that need no log entry: at the state this member has, once it is known to be recent enough.
 *
 * A range of more than one key is read in slices at one revision, so that no read holds the turn
 * for long.
 */

import { exponentialBuckets, yieldTurn } from "@etcd-ts/base";
import type { EtcdError, Family, Histogram } from "@etcd-ts/base";
import type {
  RangeRequest,
  RangeResponse,
  ResponseHeader,
  TxnRequest,
  TxnResponse,
} from "@etcd-ts/api";
import { encodePairs, SERVER_ERRORS } from "@etcd-ts/api";

import { KeyReader } from "./key-reader.ts";
import type { MemberCore } from "./member-core.ts";
import type {
  AuthIdentity,
  Completion,
  EncodedRangeResponse,
  KeyReads,
  RequestContext,
} from "./server-api.ts";
import {
  executeReadOnlyTxn,
  executeReadOnlyTxnSliced,
  isSerializableTxn,
  readsKeysOnly,
} from "./txn/execute.ts";
import { executeRange, finishRange, isPlainRange, rangeOptions } from "./txn/range.ts";

type PermissionCheck = (identity: AuthIdentity | undefined) => EtcdError | undefined;

export class ReadOperations {
  readonly #core: MemberCore;
  readonly #succeeded: Histogram;
  readonly #keys: KeyReader;
  readonly #durations: Family<Histogram>;
  readonly #header = (revision: number): ResponseHeader => this.#core.header(revision);

  constructor(core: MemberCore) {
    this.#core = core;
    this.#durations = core.ports.metrics.histogramFamily({
      name: "etcd_server_range_duration_seconds",
      help: "The latency distributions of txn.Range",
      labelNames: ["success"],
      buckets: exponentialBuckets(0.0001, 2, 20),
    });
    this.#succeeded = this.#durations.labels({ success: "true" });
    this.#keys = new KeyReader(core, (tookMs) => this.#observeTime(tookMs, undefined));
  }

  get keys(): KeyReads {
    return this.#keys;
  }

  range(request: RangeRequest, context: RequestContext, done: Completion<RangeResponse>): void {
    this.#whenRecent(request.serializable, (error) => {
      if (error !== undefined) done(error, undefined);
      else if (context.auth === undefined) this.#readRangeAsNobody(request, done);
      else {
        this.#asPermitted(this.#rangeCheck(request), context, done, (answer) =>
          this.#readRange(request, answer),
        );
      }
    });
  }

  /** The way of most reads: there is no identity to wait for, nor one that may change meanwhile. */
  #readRangeAsNobody(request: RangeRequest, done: Completion<RangeResponse>): void {
    const { key, rangeEnd } = request;
    const refusal = this.#core.auth.rangeRefusal(undefined, "read", key, rangeEnd);
    if (refusal === undefined) this.#readRange(request, done);
    else done(refusal, undefined);
  }

  rangeEncoded(
    request: RangeRequest,
    context: RequestContext,
    done: Completion<EncodedRangeResponse>,
  ): void {
    this.#whenRecent(request.serializable, (error) => {
      if (error !== undefined) done(error, undefined);
      else {
        this.#asPermitted(this.#rangeCheck(request), context, done, (answer) =>
          this.#readEncoded(request, answer),
        );
      }
    });
  }

  txn(request: TxnRequest, context: RequestContext, done: Completion<TxnResponse>): void {
    const check: PermissionCheck = (identity) => this.#core.permissions.txn(identity, request);
    this.#whenRecent(isSerializableTxn(request), (error) => {
      if (error !== undefined) done(error, undefined);
      else {
        this.#asPermitted(check, context, done, (answer) => this.#readTxn(request, answer));
      }
    });
  }

  #rangeCheck({ key, rangeEnd }: RangeRequest): PermissionCheck {
    return (identity) => this.#core.auth.rangeRefusal(identity, "read", key, rangeEnd);
  }

  /**
   * Runs `read` if the caller may; the answer is kept back if users or roles changed before it was
   * complete.
   */
  #asPermitted<T>(
    check: PermissionCheck,
    context: RequestContext,
    done: Completion<T>,
    read: (answer: Completion<T>) => void,
  ): void {
    const { auth, gate } = this.#core;
    gate.identify(context.auth, (error, identity) => {
      const refusal = error ?? check(identity);
      if (refusal !== undefined) done(refusal, undefined);
      else if (identity === undefined) read(done);
      else {
        const { authRevision } = identity;
        read((failure, result) => {
          if (authRevision !== 0 && authRevision !== auth.revision) {
            done(SERVER_ERRORS.authOldRevision, undefined);
          } else done(failure, result);
        });
      }
    });
  }

  #whenRecent(serializable: boolean, done: Completion<void>): void {
    if (!serializable) this.#core.linearizableRead(done);
    else {
      this.#core.ports.clock.nextTurn(() =>
        this.#core.whenInstalled(() => done(this.#core.end, undefined)),
      );
    }
  }

  #readEncoded(request: RangeRequest, done: Completion<EncodedRangeResponse>): void {
    const startMs = this.#core.meter.start();
    this.#encodedRange(request).then(
      (response) => {
        this.#observeRange(startMs, undefined);
        done(undefined, response);
      },
      (cause: unknown) => {
        const error = this.#failureFrom(cause);
        this.#observeRange(startMs, error);
        done(error, undefined);
      },
    );
  }

  async #encodedRange(request: RangeRequest): Promise<EncodedRangeResponse> {
    const { store, ports } = this.#core;
    const { key, rangeEnd, revision, limit, keysOnly } = request;
    if (isPlainRange(request)) {
      const result = await store.rangeEncoded(key, rangeEnd, { revision, limit, keysOnly });
      const { pairs, more, count } = result;
      return { message: pairs.finish(this.#core.header(result.revision), more, count), count };
    }
    const result = await store.rangeSliced(key, rangeEnd, rangeOptions(request));
    const { kvs, more, count } = await finishRange(request, result, ports.clock);
    const pairs = await encodePairs(kvs, () => yieldTurn(ports.clock));
    return { message: pairs.finish(this.#core.header(result.revision), more, count), count };
  }

  #observeRange(startMs: number, error: EtcdError | undefined): void {
    this.#observeTime(this.#core.ports.clock.monotonicMs() - startMs, error);
  }

  #observeTime(tookMs: number, error: EtcdError | undefined): void {
    if (error === undefined) this.#succeeded.observe(tookMs / 1000);
    else this.#durations.labels({ success: "false" }).observe(tookMs / 1000);
    this.#core.meter.warnIfOver("Range", "read-only range ", tookMs, error);
  }

  #readRange(request: RangeRequest, done: Completion<RangeResponse>): void {
    const { store, meter } = this.#core;
    const startMs = meter.start();
    if (request.rangeEnd.length > 0) {
      this.#readRangeSliced(request, startMs, done);
      return;
    }
    let response: RangeResponse;
    try {
      response = executeRange(store, request, this.#header);
    } catch (cause) {
      const error = this.#failureFrom(cause);
      this.#observeRange(startMs, error);
      done(error, undefined);
      return;
    }
    this.#observeRange(startMs, undefined);
    done(undefined, response);
  }

  #readRangeSliced(request: RangeRequest, startMs: number, done: Completion<RangeResponse>): void {
    const { store, ports } = this.#core;
    store
      .rangeSliced(request.key, request.rangeEnd, rangeOptions(request))
      .then((result) => finishRange(request, result, ports.clock, this.#header))
      .then(
        (response) => {
          this.#observeRange(startMs, undefined);
          done(undefined, response);
        },
        (cause: unknown) => {
          const error = this.#failureFrom(cause);
          this.#observeRange(startMs, error);
          done(error, undefined);
        },
      );
  }

  #readTxn(request: TxnRequest, done: Completion<TxnResponse>): void {
    const { store, meter, ports } = this.#core;
    const startMs = meter.start();
    const finish = (error: EtcdError | undefined, response: TxnResponse | undefined): void => {
      meter.warnIfSlow("Txn", "read-only txn ", startMs, error);
      if (response === undefined) done(error, undefined);
      else done(undefined, this.#completed(response));
    };
    if (!readsKeysOnly(request)) {
      executeReadOnlyTxnSliced(store, request, ports.clock).then(
        (response) => finish(undefined, response),
        (error: unknown) => finish(this.#failureFrom(error), undefined),
      );
      return;
    }
    let response: TxnResponse;
    try {
      response = executeReadOnlyTxn(store, request);
    } catch (error) {
      finish(this.#failureFrom(error), undefined);
      return;
    }
    finish(undefined, response);
  }

  #completed<T extends { readonly header: ResponseHeader | undefined }>(response: T): T {
    return { ...response, header: this.#core.header(response.header?.revision ?? 0) };
  }

  /** A client's mistake as it is; anything else ends the member. */
  #failureFrom(error: unknown): EtcdError {
    if (error === SERVER_ERRORS.compacted || error === SERVER_ERRORS.futureRevision) {
      return error as EtcdError;
    }
    this.#core.fail(error);
    return SERVER_ERRORS.stopped;
  }
}
