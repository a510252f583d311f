/**
 * Who may call what now: capability, learner restrictions, the client's version, the wish for a
 * leader. The order is etcd's, so that a call refused for two reasons is told the same one.
 */

import { KV, Maintenance, RPC_ERRORS } from "@etcd-ts/api";
import type { RangeRequest, RpcError } from "@etcd-ts/api";
import { bytesFromLatin1, isUtf8 } from "@etcd-ts/base";
import type { Counter, Family, Metrics } from "@etcd-ts/base";
import type { ServerFacts, ServerOperations } from "@etcd-ts/etcdserver";
import type { CallBatch, CallContext, CallInterceptor, Metadata } from "@etcd-ts/rpc";

import { requiresLeader } from "./open-calls.ts";

/** Cluster versions this server can serve. */
const CAPABLE_VERSIONS: ReadonlySet<string> = new Set([
  "3.0.0",
  "3.1.0",
  "3.2.0",
  "3.3.0",
  "3.4.0",
  "3.5.0",
  "3.6.0",
]);

/**
 * Client versions counted apart. Clients choose the text, so without a bound one of them could
 * make series without end; what comes later counts as `other`.
 */
export const CLIENT_VERSIONS_MAX = 128;
const OTHER_VERSIONS = "other";
const UNKNOWN_VERSION = "unknown";

/** What is to be known of a call, or of a batch of them. */
type CountedCall = Pick<CallContext, "method" | "metadata">;

export class Admission implements CallInterceptor {
  readonly #server: ServerOperations;
  readonly #requests: Family<Counter>;
  readonly #unary = new Map<string, Counter>();
  readonly #stream = new Map<string, Counter>();
  /** The version found capable last. */
  #capableVersion: string | undefined;
  /** Calls of a connection come together and share their metadata: who was counted last. */
  #latestMetadata: Metadata | undefined;
  #latestIsUnary = false;
  #latestCounter: Counter | undefined;

  constructor(server: ServerOperations, metrics: Metrics) {
    this.#server = server;
    this.#requests = metrics.counterFamily({
      name: "etcd_server_client_requests_total",
      help: "The total number of client requests per client version.",
      labelNames: ["type", "client_api_version"],
    });
  }

  onStart(call: CallContext, request: unknown): RpcError | undefined {
    const facts = this.#server.facts();
    const { clusterVersion } = facts;
    if (clusterVersion !== this.#capableVersion && clusterVersion !== undefined) {
      if (!CAPABLE_VERSIONS.has(clusterVersion)) return RPC_ERRORS.notCapable;
      this.#capableVersion = clusterVersion;
    }
    if (facts.isLearner && !isForLearners(call, request)) return RPC_ERRORS.notSupportedForLearner;
    if (!this.#countVersion(call)) return RPC_ERRORS.invalidClientAPIVersion;
    return leaderRefusal(call, facts);
  }

  /** What a batch is not admitted to is refused call by call. */
  mayBatch(batch: CallBatch): boolean {
    const facts = this.#server.facts();
    return (
      !facts.isLearner &&
      (facts.clusterVersion === undefined || facts.clusterVersion === this.#capableVersion) &&
      leaderRefusal(batch, facts) === undefined &&
      this.#countVersion(batch, 0)
    );
  }

  onBatchAnswered(batch: CallBatch): void {
    this.#countVersion(batch, batch.answered);
  }

  /** False if the client's version is no text. */
  #countVersion(call: CountedCall, calls = 1): boolean {
    const isUnary = call.method.kind === "unary";
    const isRepeated = call.metadata === this.#latestMetadata && isUnary === this.#latestIsUnary;
    const counter = isRepeated ? this.#latestCounter : this.#counterOf(call, isUnary);
    if (counter === undefined) return false;
    counter.inc(calls);
    this.#latestMetadata = call.metadata;
    this.#latestIsUnary = isUnary;
    this.#latestCounter = counter;
    return true;
  }

  /** Undefined if the client's version is no text. */
  #counterOf(call: CountedCall, isUnary: boolean): Counter | undefined {
    const version = call.metadata.get("client-api-version") ?? UNKNOWN_VERSION;
    const counters = isUnary ? this.#unary : this.#stream;
    const known = counters.get(version);
    if (known !== undefined) return known;
    if (!isText(version)) return undefined;
    const label = counters.size < CLIENT_VERSIONS_MAX ? version : OTHER_VERSIONS;
    const type = isUnary ? "unary" : "stream";
    const counter = this.#requests.labels({ type, client_api_version: label });
    if (label === version) counters.set(version, counter);
    return counter;
  }
}

function leaderRefusal(call: CountedCall, facts: ServerFacts): RpcError | undefined {
  return facts.leaderID === 0n && requiresLeader(call) ? RPC_ERRORS.noLeader : undefined;
}

/** What a member answers that has no vote and may lag behind. */
function isForLearners(call: CallContext, request: unknown): boolean {
  switch (call.method) {
    case KV.Range:
      return (request as RangeRequest).serializable;
    case Maintenance.Status:
    case Maintenance.Snapshot:
      return true;
    default:
      return false;
  }
}

/** Metadata comes as one character a byte, or already as text. */
function isText(value: string): boolean {
  for (let i = 0; i < value.length; i++) if (value.charCodeAt(i) > 0xff) return true;
  return isUtf8(bytesFromLatin1(value));
}
