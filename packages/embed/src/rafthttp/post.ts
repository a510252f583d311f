/** What posts of messages and of snapshots have in common: their headers, and what an answer means. */

import type { OutgoingHttpHeaders } from "node:http";
import { EtcdError, hexFromID, stringFromUtf8 } from "@etcd-ts/base";
import {
  CLUSTER_ID_MISMATCH_TEXT,
  headerOf,
  identityHeaders,
  INCOMPATIBLE_VERSION_TEXT,
} from "./headers.ts";
import type { PeerIdentity } from "./headers.ts";
import type { PeerRequest, PeerResponse } from "./http-client.ts";
import { MEMBER_REMOVED_TEXT } from "./peer-context.ts";
import type { PeerContext } from "./peer-context.ts";

/** A post that the peer did not take. */
export class PostRefusedError extends EtcdError {
  readonly code = "POST_REFUSED";
}

export function postHeaders(identity: PeerIdentity, contentType: string): OutgoingHttpHeaders {
  return { "Content-Type": contentType, ...identityHeaders(identity) };
}

/** @throws {PostRefusedError} unless the peer took it; a removal is reported as well */
export function checkPostResponse(
  context: PeerContext,
  peerID: bigint,
  request: Pick<PeerRequest, "url" | "path">,
  response: PeerResponse,
): void {
  const { status } = response;
  if (status === 204) return;
  if (status === 403) {
    context.memberRemoved();
    throw new PostRefusedError(MEMBER_REMOVED_TEXT);
  }
  if (status !== 412) {
    throw new PostRefusedError(
      `unexpected http status ${status} while posting to "${request.url.text}${request.path}"`,
    );
  }
  const text = stringFromUtf8(response.body).replace(/\n$/, "");
  const peer = { "remote-peer-id": hexFromID(peerID) };
  if (text === INCOMPATIBLE_VERSION_TEXT) {
    context.logger.error("request sent was ignored by peer", peer);
  } else if (text === CLUSTER_ID_MISMATCH_TEXT) {
    context.logger.error("request sent was ignored due to cluster ID mismatch", {
      ...peer,
      "remote-peer-cluster-id": headerOf(response.headers, "x-etcd-cluster-id"),
      "local-member-cluster-id": hexFromID(context.identity.clusterID),
    });
  } else {
    throw new PostRefusedError(`unhandled error ${JSON.stringify(text)} when precondition failed`);
  }
  throw new PostRefusedError(text);
}
