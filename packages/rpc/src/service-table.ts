/**
 * Which handler serves which method, and what runs around every call.
 *
 * Transports and in-process callers look a method up by its path and start a `ServerCall` on it;
 * routing is by exact match, so a path that differs in anything is unknown.
 */

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { GrpcCode, MethodDescriptor } from "@etcd-ts/api";
import { invariant } from "@etcd-ts/base";

import type { AnyMethod, CallContext, Peer, StreamHandler, UnaryHandler } from "./call.ts";
import type { CallBatch } from "./http2/call-batch.ts";
import type { Metadata } from "./metadata.ts";
import { ServerCall } from "./server-call.ts";
import type { CallSink, CallStart } from "./server-call.ts";

/** What runs around every call. Interceptors start in the order they were added. */
export interface CallInterceptor {
  /**
   * Before the handler: for a unary call when its request has arrived, for a stream at its start,
   * with `request` undefined.
   *
   * @returns an error to fail the call with; later interceptors and the handler do not run
   */
  onStart?(call: CallContext, request: unknown): RpcError | undefined;
  onMessageReceived?(call: CallContext): void;
  onMessageSent?(call: CallContext): void;
  /** After the status is known, for each interceptor whose `onStart` ran; in reverse order. */
  onFinish?(call: CallContext, code: GrpcCode, message: string): void;
  /**
   * Whether calls that came together may go on as a batch; if not, each becomes an ordinary call,
   * and `onStart` decides. With an interceptor that has no such method there are no batches.
   */
  mayBatch?(batch: CallBatch): boolean;
  /** `batch.answered` calls were answered with OK: as `onStart` to `onFinish` of each. */
  onBatchAnswered?(batch: CallBatch): void;
}

export type Handler =
  | { readonly kind: "unary"; readonly run: UnaryHandler<unknown, unknown> }
  | { readonly kind: "stream"; readonly run: StreamHandler<unknown, unknown> };

/** Takes small calls of a unary method together. */
export interface BatchHandler {
  /** Whether calls with such metadata may come in batches. */
  accepts(metadata: Metadata, peer: Peer): boolean;
  /** Ends each call of the batch, in this turn or a later one. */
  run(batch: CallBatch): void;
}

/** A method that can be called. */
export interface Route {
  readonly method: AnyMethod;
  readonly handler: Handler;
  readonly batch: BatchHandler | undefined;
}

export class ServiceTable {
  readonly #routes = new Map<string, Route>();
  readonly #services = new Set<string>();
  readonly #interceptors: CallInterceptor[] = [];

  /**
   * Serves a unary method.
   *
   * @param batch - takes calls together where a transport can tell them to be alike and small
   */
  unary<I, O>(
    method: MethodDescriptor<I, O>,
    handler: UnaryHandler<I, O>,
    batch?: BatchHandler,
  ): void {
    invariant(
      method.kind === "unary",
      () => `ServiceTable.unary: ${method.path} is ${method.kind}`,
    );
    const run = handler as UnaryHandler<unknown, unknown>;
    this.#add(method as AnyMethod, { kind: "unary", run }, batch);
  }

  /** Serves a method of any streaming kind. */
  stream<I, O>(method: MethodDescriptor<I, O>, handler: StreamHandler<I, O>): void {
    invariant(method.kind !== "unary", () => `ServiceTable.stream: ${method.path} is unary`);
    this.#add(method as AnyMethod, {
      kind: "stream",
      run: handler as StreamHandler<unknown, unknown>,
    });
  }

  #add(method: AnyMethod, handler: Handler, batch?: BatchHandler): void {
    invariant(!this.#routes.has(method.path), () => `ServiceTable: ${method.path} added twice`);
    this.#routes.set(method.path, { method, handler, batch });
    this.#services.add(method.service);
  }

  intercept(interceptor: CallInterceptor): void {
    this.#interceptors.push(interceptor);
  }

  get interceptors(): readonly CallInterceptor[] {
    return this.#interceptors;
  }

  mayBatch(batch: CallBatch): boolean {
    for (const interceptor of this.#interceptors) {
      if (interceptor.mayBatch?.(batch) !== true) return false;
    }
    return true;
  }

  batchAnswered(batch: CallBatch): void {
    for (const interceptor of this.#interceptors) interceptor.onBatchAnswered?.(batch);
  }

  /** Every method served. */
  methods(): AnyMethod[] {
    return Array.from(this.#routes.values(), (route) => route.method);
  }

  /** @returns the route, or the Unimplemented status grpc-go answers an unknown path with */
  find(path: string): Route | RpcError {
    const route = this.#routes.get(path);
    if (route !== undefined) return route;
    const slash = path.lastIndexOf("/");
    if (slash < 1 || !path.startsWith("/")) {
      return unimplemented(`malformed method name: ${JSON.stringify(path)}`);
    }
    const service = path.slice(1, slash);
    return this.#services.has(service)
      ? unimplemented(`unknown method ${path.slice(slash + 1)} for service ${service}`)
      : unimplemented(`unknown service ${service}`);
  }

  /**
   * Makes a call, to be started with `begin`; `sink` takes what the handler sends.
   *
   * @param isInternal - the member calls itself: no interceptors
   */
  start(route: Route, start: CallStart, sink: CallSink<unknown>, isInternal = false): ServerCall {
    return new ServerCall(route, start, sink, isInternal ? [] : this.#interceptors);
  }
}

function unimplemented(message: string): RpcError {
  return new RpcError("UNIMPLEMENTED", GRPC_CODES.UNIMPLEMENTED, message);
}
