/**
 * Between calls and operations: the context an operation runs in, the header of what it answers,
 * and the status of what it refuses.
 *
 * Invariant: every call gets its context here and nowhere else, so that the identity of a caller
 * has one source.
 */

import { generatedHeader, rpcErrorFrom } from "@etcd-ts/api";
import type { generatedKeyValue } from "@etcd-ts/api";
import { INTERNAL_CONTEXT } from "@etcd-ts/etcdserver";
import type { AuthClaim, Completion, RequestContext, ServerOperations } from "@etcd-ts/etcdserver";
import type { CallContext, UnaryCall } from "@etcd-ts/rpc";

const BEARER = "Bearer ";

/** The header in messages that are used as generated. */
export type GeneratedHeader = ReturnType<typeof generatedHeader>;
export type GeneratedKeyValue = ReturnType<typeof generatedKeyValue>;

/** Who asks, and until when. */
export function contextOf(call: CallContext): RequestContext {
  const { deadlineMs } = call;
  const auth = claimOf(call);
  if (auth === undefined && deadlineMs === undefined) return INTERNAL_CONTEXT;
  return { auth, deadlineMs };
}

/**
 * A token comes before a certificate. Through the gateway there are only tokens: its certificate,
 * if any, is not that of the caller.
 */
export function claimOf({
  metadata,
  peer,
}: Pick<CallContext, "metadata" | "peer">): AuthClaim | undefined {
  const token = metadata.get("token") ?? metadata.get("authorization");
  if (token !== undefined) {
    return {
      kind: "token",
      token: token.startsWith(BEARER) ? token.slice(BEARER.length) : token,
    };
  }
  if (peer.commonName === undefined || metadata.has("grpcgateway-accept")) return undefined;
  return { kind: "certificate", commonName: peer.commonName };
}

/** A complete header at the store's revision. */
export function headerNow(server: ServerOperations): GeneratedHeader {
  return headerAt(server, server.store.currentRevision);
}

/** A complete header at `revision`. */
export function headerAt(server: ServerOperations, revision: number): GeneratedHeader {
  return generatedHeader(server.responseHeader(revision));
}

/** The header of the Cluster service, which names no revision. */
export function headerWithoutRevision(server: ServerOperations): GeneratedHeader {
  return headerAt(server, 0);
}

/** A completion that answers `call`: the status of the error, or what `respond` makes of the result. */
export function answer<T, O>(call: UnaryCall<O>, respond: (result: T) => O): Completion<T> {
  return (error, result) => {
    if (error === undefined) call.respond(respond(result as T));
    else call.fail(rpcErrorFrom(error));
  };
}
