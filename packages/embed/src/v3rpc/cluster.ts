/** The Cluster service. Its headers name no revision. */

import { Cluster, RPC_ERRORS } from "@etcd-ts/api";
import type { MemberInfo, ServerOperations } from "@etcd-ts/etcdserver";

import { answer, contextOf, headerWithoutRevision } from "./headers.ts";
import type { GeneratedHeader } from "./headers.ts";
import { parsePeerURLs } from "./peer-urls.ts";
import type { ServiceParts } from "./parts.ts";

interface Members {
  readonly members: readonly MemberInfo[];
}

export function registerCluster(parts: ServiceParts): void {
  const { table, server } = parts;
  table.unary(Cluster.MemberAdd, (request, call) => {
    const peerURLs = parsePeerURLs(request.peerURLs);
    if (peerURLs === undefined) {
      call.fail(RPC_ERRORS.memberBadURLs);
      return;
    }
    const respond = answer(call, (result: Members & { member: MemberInfo | undefined }) => ({
      $typeName: "etcdserverpb.MemberAddResponse" as const,
      ...membersAndHeader(server, result),
      member: result.member === undefined ? undefined : generatedMember(result.member),
    }));
    server.memberAdd(peerURLs, request.isLearner, contextOf(call), respond);
  });
  table.unary(Cluster.MemberRemove, (request, call) => {
    const respond = answer(call, (result: Members) => ({
      $typeName: "etcdserverpb.MemberRemoveResponse" as const,
      ...membersAndHeader(server, result),
    }));
    server.memberRemove(request.ID, contextOf(call), respond);
  });
  table.unary(Cluster.MemberUpdate, (request, call) => {
    const respond = answer(call, (result: Members) => ({
      $typeName: "etcdserverpb.MemberUpdateResponse" as const,
      ...membersAndHeader(server, result),
    }));
    server.memberUpdate(request.ID, request.peerURLs, contextOf(call), respond);
  });
  table.unary(Cluster.MemberList, (request, call) => {
    const respond = answer(call, (result: Members) => ({
      $typeName: "etcdserverpb.MemberListResponse" as const,
      ...membersAndHeader(server, result),
    }));
    server.memberList(request.linearizable, contextOf(call), respond);
  });
  table.unary(Cluster.MemberPromote, (request, call) => {
    const respond = answer(call, (result: Members) => ({
      $typeName: "etcdserverpb.MemberPromoteResponse" as const,
      ...membersAndHeader(server, result),
    }));
    server.memberPromote(request.ID, contextOf(call), respond);
  });
}

function membersAndHeader(
  server: ServerOperations,
  { members }: Members,
): { header: GeneratedHeader; members: ReturnType<typeof generatedMember>[] } {
  return { header: headerWithoutRevision(server), members: members.map(generatedMember) };
}

function generatedMember(member: MemberInfo) {
  return {
    $typeName: "etcdserverpb.Member" as const,
    ID: member.id,
    name: member.name,
    peerURLs: [...member.peerURLs],
    clientURLs: [...member.clientURLs],
    isLearner: member.isLearner,
  };
}
