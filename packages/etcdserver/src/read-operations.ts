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

import type { MemberCore } from "./member-core.ts";
import type { Completion, EncodedRangeResponse, RequestContext } from "./server-api.ts";
import {
  executeReadOnlyTxn,
  executeReadOnlyTxnSliced,
  isSerializableTxn,
  readsKeysOnly,
} from "./txn/execute.ts";
import { executeRange, finishRange, isPlainRange, rangeOptions } from "./txn/range.ts";

export class ReadOperations {
  readonly #core: MemberCore;
  readonly #succeeded: Histogram;
  readonly #durations: Family<Histogram>;

  constructor(core: MemberCore) {
    this.#core = core;
    this.#durations = core.ports.metrics.histogramFamily({
      name: "etcd_server_range_duration_seconds",
      help: "The latency distributions of txn.Range",
      labelNames: ["success"],
      buckets: exponentialBuckets(0.0001, 2, 20),
    });
    this.#succeeded = this.#durations.labels({ success: "true" });
  }

  range(request: RangeRequest, context: RequestContext, done: Completion<RangeResponse>): void {
    this.#whenRecent(request.serializable, context, (error) => {
      if (error !== undefined) done(error, undefined);
      else this.#readRange(request, done);
    });
  }

  rangeEncoded(
    request: RangeRequest,
    context: RequestContext,
    done: Completion<EncodedRangeResponse>,
  ): void {
    this.#whenRecent(request.serializable, context, (error) => {
      if (error !== undefined) done(error, undefined);
      else this.#readEncoded(request, done);
    });
  }

  txn(request: TxnRequest, context: RequestContext, done: Completion<TxnResponse>): void {
    this.#whenRecent(isSerializableTxn(request), context, (error) => {
      if (error !== undefined) done(error, undefined);
      else this.#readTxn(request, done);
    });
  }

  #whenRecent(serializable: boolean, context: RequestContext, done: Completion<void>): void {
    const refusal = this.#core.auth.checkIdentity(context.auth);
    if (refusal !== undefined) this.#core.failLater(done, refusal);
    else if (!serializable) this.#core.linearizableRead(done);
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
    const { meter, ports } = this.#core;
    const seconds = (ports.clock.monotonicMs() - startMs) / 1000;
    if (error === undefined) this.#succeeded.observe(seconds);
    else this.#durations.labels({ success: "false" }).observe(seconds);
    meter.warnIfSlow("Range", "read-only range ", startMs, error);
  }

  #readRange(request: RangeRequest, done: Completion<RangeResponse>): void {
    const { store, meter, ports } = this.#core;
    const startMs = meter.start();
    const finish = (error: EtcdError | undefined, response: RangeResponse | undefined): void => {
      this.#observeRange(startMs, error);
      if (response === undefined) done(error, undefined);
      else done(undefined, this.#completed(response));
    };
    if (request.rangeEnd.length > 0) {
      store
        .rangeSliced(request.key, request.rangeEnd, rangeOptions(request))
        .then((result) => finishRange(request, result, ports.clock))
        .then(
          (response) => finish(undefined, response),
          (error: unknown) => finish(this.#failureFrom(error), undefined),
        );
      return;
    }
    let response: RangeResponse;
    try {
      response = executeRange(store, request);
    } catch (error) {
      finish(this.#failureFrom(error), undefined);
      return;
    }
    finish(undefined, response);
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
