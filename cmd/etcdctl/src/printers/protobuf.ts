/** The format `protobuf`: the answer's bytes, and nothing after them. */

import {
  Auth,
  Cluster,
  KV,
  Maintenance,
  METHODS,
  ResponseHeaderCodec,
  WatchResponseCodec,
} from "@etcd-ts/api";
import type {
  AlarmResponse,
  AuthRoleGetResponse,
  AuthRoleListResponse,
  AuthStatusResponse,
  AuthUserGetResponse,
  AuthUserListResponse,
  DeleteRangeResponse,
  DowngradeResponse,
  LeaseGrantResponse,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseRevokeResponse,
  LeaseTimeToLiveResponse,
  MemberAddResponse,
  MemberListResponse,
  MoveLeaderResponse,
  PutResponse,
  RangeResponse,
  TxnResponse,
  WatchResponse,
} from "@etcd-ts/api";
import { WireWriter } from "@etcd-ts/base";
import type { Codec } from "@etcd-ts/base";

import { out } from "@etcd-ts/cli";
import { EXIT, ExitError } from "../exit.ts";
import { headerOf, unsupported } from "./printer.ts";
import type { AnyHeader, AnyMethod, MemberChange, PlainResponse, Printer } from "./printer.ts";

function print<T>(codec: Codec<T>, response: T): void {
  const writer = new WireWriter();
  codec.encode(response, writer);
  out(writer.finish());
}

/** Of answers to lease commands the reference writes the header alone. */
function printHeader(header: AnyHeader | undefined): void {
  const fields = headerOf(header);
  if (fields === undefined) return;
  print(
    ResponseHeaderCodec,
    ResponseHeaderCodec.create({
      clusterID: fields.clusterID,
      memberID: fields.memberID,
      revision: Number(fields.revision),
      raftTerm: Number(fields.raftTerm),
    }),
  );
}

function printAs(method: AnyMethod, response: unknown): void {
  const { response: codec } = METHODS.find(({ path }) => path === method.path)!;
  print(codec, response);
}

export class ProtobufPrinter implements Printer {
  del(response: DeleteRangeResponse): void {
    print(KV.DeleteRange.response, response);
  }

  get(response: RangeResponse): void {
    print(KV.Range.response, response);
  }

  put(response: PutResponse): void {
    print(KV.Put.response, response);
  }

  txn(response: TxnResponse): void {
    print(KV.Txn.response, response);
  }

  watch(response: WatchResponse): void {
    const { header, events, compactRevision, canceled, created } = response;
    print(
      WatchResponseCodec,
      WatchResponseCodec.create({ header, events, compactRevision, canceled, created }),
    );
  }

  grant(response: LeaseGrantResponse): void {
    printHeader(response.header);
  }

  /** The reference has no message for it, and says so with what it has. */
  revoke(_id: bigint, { header }: LeaseRevokeResponse): void {
    const fields = headerOf(header);
    const words = [
      ["cluster_id", fields?.clusterID],
      ["member_id", fields?.memberID],
      ["revision", fields?.revision],
      ["raft_term", fields?.raftTerm],
    ] as const;
    const text = words
      .map(([name, value = 0n]) => (value === 0n ? "" : `${name}:${value} `))
      .join("");
    throw new ExitError(
      EXIT.badFeature,
      `marshal unsupported for type clientv3.LeaseRevokeResponse ({${text} {} [] 0})`,
    );
  }

  keepAlive(response: LeaseKeepAliveResponse): void {
    printHeader(response.header);
  }

  timeToLive(response: LeaseTimeToLiveResponse): void {
    printHeader(response.header);
  }

  leases(response: LeaseLeasesResponse): void {
    printHeader(response.header);
  }

  alarms(response: AlarmResponse): void {
    print(Maintenance.Alarm.response, response);
  }

  memberAdd(response: MemberAddResponse): void {
    print(Cluster.MemberAdd.response, response);
  }

  memberChange(_text: string, method: AnyMethod, response: MemberChange): void {
    printAs(method, response);
  }

  memberList(response: MemberListResponse): void {
    print(Cluster.MemberList.response, response);
  }

  endpointHealth(): void {
    unsupported("protobuf");
  }

  endpointStatus(): void {
    unsupported("protobuf");
  }

  endpointHashKV(): void {
    unsupported("protobuf");
  }

  moveLeader(_text: string, response: MoveLeaderResponse): void {
    print(Maintenance.MoveLeader.response, response);
  }

  downgrade(_text: string, response: DowngradeResponse): void {
    print(Maintenance.Downgrade.response, response);
  }

  roleGet(_role: string, response: AuthRoleGetResponse): void {
    print(Auth.RoleGet.response, response);
  }

  roleList(response: AuthRoleListResponse): void {
    print(Auth.RoleList.response, response);
  }

  userGet(_user: string, response: AuthUserGetResponse): void {
    print(Auth.UserGet.response, response);
  }

  userList(response: AuthUserListResponse): void {
    print(Auth.UserList.response, response);
  }

  authStatus(response: AuthStatusResponse): void {
    print(Auth.AuthStatus.response, response);
  }

  authChange(_text: string, method: AnyMethod, response: PlainResponse): void {
    printAs(method, response);
  }
}
