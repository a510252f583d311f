/**
 * What a peer listener serves to other members and to tools: `/version` and `/members`. The raft
 * endpoints of clusters belong to the peer transport.
 */

import { hexFromID } from "@etcd-ts/base";
import type { MemberInfo, ServerOperations } from "@etcd-ts/etcdserver";
import type { HttpHandler } from "@etcd-ts/rpc";
import { versionJSON } from "./client-handler.ts";
import { allowMethod, reply, replyError, replyNotFound, requestURL } from "./replies.ts";

export function createPeerHandler(server: ServerOperations): HttpHandler {
  return (request, response) => {
    const { pathname } = requestURL(request);
    if (pathname === "/version") {
      if (allowMethod(request, response, "GET")) {
        reply(response, 200, "application/json", versionJSON(server));
      }
    } else if (pathname === "/members") {
      if (!allowMethod(request, response, "GET")) return;
      response.setHeader("X-Etcd-Cluster-ID", hexFromID(server.facts().clusterID));
      const context = { auth: undefined, deadlineMs: undefined };
      server.memberList(false, context, (error, list) => {
        if (error !== undefined) replyError(response, 500, error.message);
        else
          reply(response, 200, "application/json", `[${list!.members.map(memberJSON).join()}]\n`);
      });
    } else replyNotFound(response);
  };
}

/** Go's JSON of a member: the id is a decimal number beyond what JSON.stringify can write. */
function memberJSON(member: MemberInfo): string {
  const fields = [`"id":${member.id}`, `"peerURLs":${JSON.stringify(member.peerURLs)}`];
  if (member.isLearner) fields.push('"isLearner":true');
  if (member.name !== "") fields.push(`"name":${JSON.stringify(member.name)}`);
  if (member.clientURLs.length > 0) {
    fields.push(`"clientURLs":${JSON.stringify(member.clientURLs)}`);
  }
  return `{${fields.join()}}`;
}
