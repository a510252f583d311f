/**
 * Questions a member puts to others beside raft: who is in the cluster, which version runs, how
 * data hashes; and requests only the leader can answer: leases and promotions.
 *
 * Invariants: redirects are not followed; every answer is bounded in size and time; what etcd has
 * an error for is thrown as that error.
 */

import { RPC_ERRORS, SERVER_ERRORS, ServerError } from "@etcd-ts/api";
import { EtcdError, hexFromID, stringFromUtf8, utf8FromString } from "@etcd-ts/base";
import type { Logger } from "@etcd-ts/base";
import type { HashKVResult, LeaseTimeToLiveResult, MemberInfo } from "@etcd-ts/etcdserver";
import { CLUSTER_ID_MISMATCH_TEXT, headerOf, parseID } from "./headers.ts";
import type { PeerHttpClient, PeerRequest, PeerResponse } from "./http-client.ts";
import {
  LEASE_RESPONSE_BYTES_MAX,
  MEMBERS_RESPONSE_BYTES_MAX,
  SMALL_RESPONSE_BYTES_MAX,
} from "./limits.ts";
import { errorText } from "./peer-context.ts";
import {
  decodeHashKVResponse,
  decodeMembers,
  decodeRenewResponse,
  decodeTimeToLiveResponse,
  decodeVersions,
  encodeHashKVRequest,
  encodeRenewRequest,
  encodeTimeToLiveRequest,
  PeerAnswerError,
} from "./peer-messages.ts";
import type { PeerVersions } from "./peer-messages.ts";
import { parsePeerURLs } from "./url-picker.ts";

/** Text of 408 on lease requests: the leader has not applied what it committed. */
export const LEASE_CATCH_UP_TEXT = "waiting for node to catch up its applied index has timed out";

export interface AskOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface LoggedAskOptions extends AskOptions {
  readonly logger: Logger;
  /** Whom the URLs belong to. */
  readonly memberID: bigint;
}

/** A cluster as one of its members tells it. */
export interface RemoteCluster {
  readonly clusterID: bigint;
  readonly members: readonly MemberInfo[];
}

type Question = Omit<PeerRequest, "url">;

/** Asks at one URL. @throws {NetworkError | ConfigError | ...} */
function ask(
  client: PeerHttpClient,
  url: string,
  question: Question,
  bytesMax: number,
  options: AskOptions,
): Promise<PeerResponse> {
  const [parsed] = parsePeerURLs([url]);
  return client.ask({ ...question, url: parsed! }, { ...options, bytesMax });
}

/**
 * The cluster as the first of `urls` that answers knows it.
 *
 * @param options.logger - told of URLs that do not answer; undefined: nobody
 * @throws {PeerAnswerError} if none does
 */
export async function getClusterFromRemotePeers(
  client: PeerHttpClient,
  urls: readonly string[],
  options: AskOptions & { readonly logger?: Logger | undefined },
): Promise<RemoteCluster> {
  for (const url of urls) {
    const address = `${url}/members`;
    const failed = (what: string, fields: { readonly [name: string]: string }): void =>
      options.logger?.warn(what, { address, ...fields });
    let response: PeerResponse;
    try {
      response = await ask(
        client,
        url,
        { path: "/members", method: "GET" },
        MEMBERS_RESPONSE_BYTES_MAX,
        options,
      );
    } catch (error) {
      failed("failed to get cluster response", { error: errorText(error) });
      continue;
    }
    let members: readonly MemberInfo[];
    try {
      members = decodeMembers(response.body);
    } catch (error) {
      failed("failed to unmarshal cluster response", { error: errorText(error) });
      continue;
    }
    const header = headerOf(response.headers, "x-etcd-cluster-id");
    const clusterID = parseID(header);
    if (clusterID === undefined) {
      failed("failed to parse cluster ID", { header });
      continue;
    }
    if (members.length > 0) return { clusterID, members };
    throw new PeerAnswerError("failed to get raft cluster member(s) from the given URLs");
  }
  throw new PeerAnswerError("could not retrieve cluster information from the given URLs");
}

/** Asks at one URL after another; undefined, with reasons in the log, if none gives an answer. */
async function askInTurn<T>(
  client: PeerHttpClient,
  urls: readonly string[],
  path: string,
  options: LoggedAskOptions,
  read: (body: Uint8Array) => T,
): Promise<T | undefined> {
  for (const url of urls) {
    const fields = { address: url + path, "remote-member-id": hexFromID(options.memberID) };
    let body: Uint8Array;
    try {
      const question: Question = { path, method: "GET" };
      ({ body } = await ask(client, url, question, SMALL_RESPONSE_BYTES_MAX, options));
    } catch (error) {
      if (options.signal?.aborted === true) return undefined;
      options.logger.warn("failed to reach the peer URL", { ...fields, error: errorText(error) });
      continue;
    }
    try {
      return read(body);
    } catch (error) {
      const text = errorText(error);
      options.logger.warn("failed to unmarshal response", { ...fields, error: text });
    }
  }
  return undefined;
}

/** What a member runs; undefined if it does not tell. */
export function getVersion(
  client: PeerHttpClient,
  urls: readonly string[],
  options: LoggedAskOptions,
): Promise<PeerVersions | undefined> {
  return askInTurn(client, urls, "/version", options, decodeVersions);
}

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["true", true],
  ["false", false],
]);

/** Whether a downgrade is going on, as a member knows by quorum; undefined if it does not tell. */
export function getDowngradeEnabled(
  client: PeerHttpClient,
  urls: readonly string[],
  options: LoggedAskOptions,
): Promise<boolean | undefined> {
  return askInTurn(client, urls, "/downgrade/enabled", options, (body) => {
    const isEnabled = BOOLEANS.get(stringFromUtf8(body));
    if (isEnabled === undefined) throw new PeerAnswerError("no boolean");
    return isEnabled;
  });
}

/**
 * The hash of a peer's keys at a revision.
 *
 * @throws {RpcError} `compacted`, `futureRevision`, `clusterIDMismatch`
 */
export async function getHashKV(
  client: PeerHttpClient,
  url: string,
  request: { readonly clusterID: bigint; readonly revision: number },
  options: AskOptions,
): Promise<HashKVResult> {
  const question: Question = {
    path: "/members/hashkv",
    method: "GET",
    headers: {
      "Content-Type": "application/json",
      "X-Etcd-Cluster-ID": hexFromID(request.clusterID),
    },
    body: utf8FromString(encodeHashKVRequest(request.revision)),
  };
  const { status, body } = await ask(client, url, question, SMALL_RESPONSE_BYTES_MAX, options);
  if (status === 200) return decodeHashKVResponse(body);
  const text = stringFromUtf8(body);
  if (status === 400) {
    if (text.includes(SERVER_ERRORS.compacted.message)) throw RPC_ERRORS.compacted;
    if (text.includes(SERVER_ERRORS.futureRevision.message)) throw RPC_ERRORS.futureRevision;
  } else if (status === 412 && text.includes(CLUSTER_ID_MISMATCH_TEXT)) {
    throw RPC_ERRORS.clusterIDMismatch;
  }
  throw new PeerAnswerError(`unknown error: ${text}`);
}

const PROTOBUF = { "Content-Type": "application/protobuf" };

/**
 * Renews a lease at the leader. @returns the granted TTL in seconds
 * @throws {ServerError} `leaseNotFound`, or with `LEASE_CATCH_UP_TEXT`
 */
export async function renewLease(
  client: PeerHttpClient,
  url: string,
  id: bigint,
  options: AskOptions,
): Promise<number> {
  const body = await askLease(client, url, "/leases", encodeRenewRequest(id), options);
  const response = readLease(body, decodeRenewResponse);
  if (response.id !== id) throw new PeerAnswerError("lease: renew id mismatch");
  return response.ttl;
}

/**
 * What the leader knows of a lease.
 *
 * @throws {ServerError} `leaseNotFound`, or with `LEASE_CATCH_UP_TEXT`
 */
export async function getLeaseTimeToLive(
  client: PeerHttpClient,
  url: string,
  request: { readonly id: bigint; readonly withKeys: boolean },
  options: AskOptions,
): Promise<LeaseTimeToLiveResult> {
  const asked = encodeTimeToLiveRequest(request.id, request.withKeys);
  const body = await askLease(client, url, "/leases/internal", asked, options);
  const response = readLease(body, decodeTimeToLiveResponse);
  if (response.id !== request.id) throw new PeerAnswerError("lease: TTL id mismatch");
  return response;
}

async function askLease(
  client: PeerHttpClient,
  url: string,
  path: string,
  body: Uint8Array,
  options: AskOptions,
): Promise<Uint8Array> {
  const question: Question = { path, method: "POST", headers: PROTOBUF, body };
  const response = await ask(client, url, question, LEASE_RESPONSE_BYTES_MAX, options);
  if (response.status === 200) return response.body;
  if (response.status === 408) throw new ServerError("LEASE_HTTP_TIMEOUT", LEASE_CATCH_UP_TEXT);
  if (response.status === 404) throw SERVER_ERRORS.leaseNotFound;
  throw new PeerAnswerError(`lease: unknown error(${stringFromUtf8(response.body)})`);
}

function readLease<T>(body: Uint8Array, read: (body: Uint8Array) => T): T {
  try {
    return read(body);
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    throw new PeerAnswerError(`lease: ${error.message}`, { cause: error });
  }
}

/**
 * Promotes a learner at the leader. @returns the members after it
 * @throws {ServerError} `memberIDNotFound`, `memberNotLearner`, `learnerNotReady`, `timeout`
 */
export async function promoteMember(
  client: PeerHttpClient,
  url: string,
  request: { readonly id: bigint; readonly token?: string | undefined },
  options: AskOptions,
): Promise<readonly MemberInfo[]> {
  const question: Question = {
    path: `/members/promote/${request.id}`,
    method: "POST",
    ...(request.token === undefined ? {} : { headers: { Authorization: request.token } }),
  };
  const { status, body } = await ask(client, url, question, MEMBERS_RESPONSE_BYTES_MAX, options);
  if (status === 200) return decodeMembers(body);
  if (status === 408) throw SERVER_ERRORS.timeout;
  if (status === 404) throw SERVER_ERRORS.memberIDNotFound;
  const text = stringFromUtf8(body);
  if (status === 412) {
    for (const error of [SERVER_ERRORS.learnerNotReady, SERVER_ERRORS.memberNotLearner]) {
      if (text.includes(error.message)) throw error;
    }
  }
  throw new PeerAnswerError(`member promote: unknown error(${text})`);
}
