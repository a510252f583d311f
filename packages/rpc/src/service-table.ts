/**
 * Which handler serves which method, and what runs around every call.
 *
 * Transports and in-process callers look a method up by its path and start a `ServerCall` on it;
 * routing is by exact match, so a path that differs in anything is unknown.
 */

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { GrpcCode, MethodDescriptor } from "@etcd-ts/api";
import { invariant } from "@etcd-ts/base";

import type { AnyMethod, CallContext, StreamHandler, UnaryHandler } from "./call.ts";
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
}

export type Handler =
  | { readonly kind: "unary"; readonly run: UnaryHandler<unknown, unknown> }
  | { readonly kind: "stream"; readonly run: StreamHandler<unknown, unknown> };

/** A method that can be called. */
export interface Route {
  readonly method: AnyMethod;
  readonly handler: Handler;
}

export class ServiceTable {
  readonly #routes = new Map<string, Route>();
  readonly #services = new Set<string>();
  readonly #interceptors: CallInterceptor[] = [];

  /** Serves a unary method. */
  unary<I, O>(method: MethodDescriptor<I, O>, handler: UnaryHandler<I, O>): void {
    invariant(
      method.kind === "unary",
      () => `ServiceTable.unary: ${method.path} is ${method.kind}`,
    );
    this.#add(method as AnyMethod, {
      kind: "unary",
      run: handler as UnaryHandler<unknown, unknown>,
    });
  }

  /** Serves a method of any streaming kind. */
  stream<I, O>(method: MethodDescriptor<I, O>, handler: StreamHandler<I, O>): void {
    invariant(method.kind !== "unary", () => `ServiceTable.stream: ${method.path} is unary`);
    this.#add(method as AnyMethod, {
      kind: "stream",
      run: handler as StreamHandler<unknown, unknown>,
    });
  }

  #add(method: AnyMethod, handler: Handler): void {
    invariant(!this.#routes.has(method.path), () => `ServiceTable: ${method.path} added twice`);
    this.#routes.set(method.path, { method, handler });
    this.#services.add(method.service);
  }

  intercept(interceptor: CallInterceptor): void {
    this.#interceptors.push(interceptor);
  }

  get interceptors(): readonly CallInterceptor[] {
    return this.#interceptors;
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
