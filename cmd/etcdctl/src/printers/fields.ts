/** The format `fields`: one `"Name" : value` a line. */

import { Permission_Type } from "@etcd-ts/api";
import type {
  AlarmResponse,
  AuthRoleGetResponse,
  AuthRoleListResponse,
  DeleteRangeResponse,
  HashKVResponse,
  KeyValue,
  LeaseGrantResponse,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseRevokeResponse,
  LeaseTimeToLiveResponse,
  MemberListResponse,
  PutResponse,
  RangeResponse,
  StatusResponse,
  TxnResponse,
  WatchResponse,
} from "@etcd-ts/api";
import { hexFromID } from "@etcd-ts/base";
import { goQuote, out } from "@etcd-ts/cli";

import { alarmName, eventTypeName, headerOf, paddedID, unsupported } from "./printer.ts";
import type {
  AnyHeader,
  AnyMethod,
  EndpointHealth,
  OfEndpoint,
  PlainResponse,
  Printer,
} from "./printer.ts";

const NOTHING = new Uint8Array(0);

export class FieldsPrinter implements Printer {
  readonly #isHex: boolean;

  constructor(isHex: boolean) {
    this.#isHex = isHex;
  }

  #line(name: string, value: unknown): void {
    out(`"${name}" : ${String(value)}\n`);
  }

  /** A member or cluster id. */
  #id(name: string, id: bigint): void {
    this.#line(name, this.#isHex ? hexFromID(id) : id);
  }

  #lease(name: string, id: bigint): void {
    this.#line(name, this.#isHex ? paddedID(id) : id);
  }

  #header(header: AnyHeader | undefined): void {
    const fields = headerOf(header);
    if (fields === undefined) return;
    this.#id("ClusterID", fields.clusterID);
    this.#id("MemberID", fields.memberID);
    if (fields.revision > 0n) this.#line("Revision", fields.revision);
    this.#line("RaftTerm", fields.raftTerm);
  }

  #kv(prefix: string, kv: KeyValue | undefined): void {
    this.#line(`${prefix}Key`, goQuote(kv?.key ?? NOTHING));
    this.#line(`${prefix}CreateRevision`, kv?.createRevision ?? 0);
    this.#line(`${prefix}ModRevision`, kv?.modRevision ?? 0);
    this.#line(`${prefix}Version`, kv?.version ?? 0);
    this.#line(`${prefix}Value`, goQuote(kv?.value ?? NOTHING));
    this.#lease(`${prefix}Lease`, kv?.lease ?? 0n);
  }

  del(response: DeleteRangeResponse): void {
    this.#header(response.header);
    this.#line("Deleted", response.deleted);
    for (const kv of response.prevKVs) this.#kv("Prev", kv);
  }

  get(response: RangeResponse): void {
    this.#header(response.header);
    for (const kv of response.kvs) this.#kv("", kv);
    this.#line("More", response.more);
    this.#line("Count", response.count);
  }

  put(response: PutResponse): void {
    this.#header(response.header);
    if (response.prevKV !== undefined) this.#kv("Prev", response.prevKV);
  }

  txn(response: TxnResponse): void {
    this.#header(response.header);
    this.#line("Succeeded", response.succeeded);
    for (const answer of response.responses) {
      if (answer.kind === "deleteRange") this.del(answer.deleteRange);
      else if (answer.kind === "put") this.put(answer.put);
      else if (answer.kind === "range") this.get(answer.range);
      else this.#line("Unknown", goQuote(answer.kind));
    }
  }

  watch(response: WatchResponse): void {
    this.#header(response.header);
    for (const event of response.events) {
      this.#line("Type", eventTypeName(event.type));
      if (event.prevKV !== undefined) this.#kv("Prev", event.prevKV);
      this.#kv("", event.kv);
    }
  }

  grant(response: LeaseGrantResponse): void {
    this.#header(response.header);
    this.#lease("ID", response.id);
    this.#line("TTL", response.ttl);
  }

  revoke(_id: bigint, response: LeaseRevokeResponse): void {
    this.#header(response.header);
  }

  keepAlive(response: LeaseKeepAliveResponse): void {
    this.#header(response.header);
    this.#lease("ID", response.id);
    this.#line("TTL", response.ttl);
  }

  timeToLive(response: LeaseTimeToLiveResponse): void {
    this.#header(response.header);
    this.#lease("ID", response.ID);
    this.#line("TTL", response.TTL);
    this.#line("GrantedTTL", response.grantedTTL);
    for (const key of response.keys) this.#line("Key", goQuote(key));
  }

  leases(response: LeaseLeasesResponse): void {
    this.#header(response.header);
    for (const { ID } of response.leases) this.#lease("ID", ID);
  }

  alarms(response: AlarmResponse): void {
    this.#header(response.header);
    for (const { memberID, alarm } of response.alarms) {
      this.#id("MemberID", memberID);
      this.#line("AlarmType", alarmName(alarm));
      out("\n");
    }
  }

  memberAdd(): void {
    unsupported("fields");
  }

  memberChange(): void {
    unsupported("fields");
  }

  memberList(response: MemberListResponse): void {
    this.#header(response.header);
    for (const member of response.members) {
      this.#id("ID", member.ID);
      this.#line("Name", goQuote(member.name));
      for (const url of member.peerURLs) this.#line("PeerURL", goQuote(url));
      for (const url of member.clientURLs) this.#line("ClientURL", goQuote(url));
      this.#line("IsLearner", member.isLearner);
      out("\n");
    }
  }

  endpointHealth(list: readonly EndpointHealth[]): void {
    for (const { endpoint, isHealthy, took, error } of list) {
      this.#line("Endpoint", goQuote(endpoint));
      this.#line("Health", isHealthy);
      this.#line("Took", took);
      this.#line("Error", error);
      out("\n");
    }
  }

  endpointStatus(list: readonly OfEndpoint<StatusResponse>[]): void {
    for (const { endpoint, response } of list) {
      this.#header(response.header);
      this.#line("Version", goQuote(response.version));
      this.#line("StorageVersion", goQuote(response.storageVersion));
      this.#line("DBSize", response.dbSize);
      this.#line("DBSizeInUse", response.dbSizeInUse);
      this.#line("DBSizeQuota", response.dbSizeQuota);
      this.#line("Leader", response.leader);
      this.#line("IsLearner", response.isLearner);
      this.#line("RaftIndex", response.raftIndex);
      this.#line("RaftTerm", response.raftTerm);
      this.#line("RaftAppliedIndex", response.raftAppliedIndex);
      this.#line("Errors", `[${response.errors.join(" ")}]`);
      this.#line("Endpoint", goQuote(endpoint));
      const { downgradeInfo } = response;
      this.#line("DowngradeTargetVersion", goQuote(downgradeInfo?.targetVersion ?? ""));
      this.#line("DowngradeEnabled", downgradeInfo?.enabled ?? false);
      out("\n");
    }
  }

  endpointHashKV(list: readonly OfEndpoint<HashKVResponse>[]): void {
    for (const { endpoint, response } of list) {
      this.#header(response.header);
      this.#line("Endpoint", goQuote(endpoint));
      this.#line("Hash", response.hash);
      this.#line("HashRevision", response.hashRevision);
      out("\n");
    }
  }

  moveLeader(): void {
    unsupported("fields");
  }

  downgrade(): void {
    unsupported("fields");
  }

  roleGet(_role: string, response: AuthRoleGetResponse): void {
    this.#header(response.header);
    for (const { permType, key, rangeEnd } of response.perm) {
      const [name = permType] =
        Object.entries(Permission_Type).find(([, value]) => value === permType) ?? [];
      out(`"PermType" :  ${name}\n`);
      this.#line("Key", goQuote(key));
      this.#line("RangeEnd", goQuote(rangeEnd));
    }
  }

  roleList(response: AuthRoleListResponse): void {
    this.#header(response.header);
    out(`"Roles" :${response.roles.map((role) => ` ${goQuote(role)}`).join("")}\n`);
  }

  userGet(): void {
    unsupported("fields");
  }

  userList(): void {
    unsupported("fields");
  }

  authStatus(): void {
    unsupported("fields");
  }

  authChange(_text: string, _method: AnyMethod, response: PlainResponse): void {
    this.#header(response.header);
  }
}
