/**
 * What is left of the v2 API in a log: members publish their attributes and the cluster version.
 *
 * etcd 3.4 and 3.5 wrote these as v2 `Request`s, alone in an entry or inside an InternalRaftRequest.
 */

import { EtcdError } from "@etcd-ts/base";
import type { RaftOperation, V2Request } from "@etcd-ts/api";

/** The log holds a v2 write, which nothing can carry out any more. */
export class DisallowedV2RequestError extends EtcdError {
  readonly code = "DISALLOWED_V2_REQUEST";
}

const ATTRIBUTES_PATH = /^\/0\/members\/([0-9a-fA-F]{1,16})\/attributes$/;
const VERSION_PATH = "/0/version";

/** @throws {DisallowedV2RequestError} */
export function operationFromV2(request: V2Request): RaftOperation {
  const { Method: method, Path: path, Val: value } = request;
  if (method === "PUT" && path === VERSION_PATH) {
    return {
      kind: "clusterVersionSet",
      request: { $typeName: "membershippb.ClusterVersionSetRequest", ver: value },
    };
  }
  const match = ATTRIBUTES_PATH.exec(path);
  if (method !== "PUT" || match === null) {
    throw new DisallowedV2RequestError(
      `detected disallowed v2 WAL for stage --v2-deprecation=write-only: ${method} ${path}`,
    );
  }
  const { name, clientURLs } = attributesOf(value, path);
  return {
    kind: "clusterMemberAttrSet",
    request: {
      $typeName: "membershippb.ClusterMemberAttrSetRequest",
      memberID: BigInt(`0x${match[1]!}`),
      memberAttributes: {
        $typeName: "membershippb.Attributes",
        name,
        clientUrls: clientURLs,
      },
    },
  };
}

function attributesOf(text: string, path: string): { name: string; clientURLs: string[] } {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new DisallowedV2RequestError(`failed to unmarshal the value of ${path}`, { cause });
  }
  const { name, clientURLs } = (json ?? {}) as { name?: unknown; clientURLs?: unknown };
  return {
    name: typeof name === "string" ? name : "",
    clientURLs: Array.isArray(clientURLs) ? clientURLs.map(String) : [],
  };
}
