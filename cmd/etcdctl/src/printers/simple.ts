/** The format `simple`: for eyes and for shells. */

import { Permission_Type } from "@etcd-ts/api";
import type {
  AlarmResponse,
  AuthRoleGetResponse,
  AuthRoleListResponse,
  AuthStatusResponse,
  AuthUserGetResponse,
  AuthUserListResponse,
  DeleteRangeResponse,
  HashKVResponse,
  KeyValue,
  LeaseGrantResponse,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseTimeToLiveResponse,
  MemberAddResponse,
  MemberListResponse,
  PutResponse,
  RangeResponse,
  StatusResponse,
  TxnResponse,
  WatchResponse,
} from "@etcd-ts/api";
import { equalBytes } from "@etcd-ts/base";
import { err, out } from "@etcd-ts/cli";
import { prefixEnd } from "@etcd-ts/client";

import { alarmName, eventTypeName, headerOf, keyValueText, paddedID } from "./printer.ts";
import type { AnyMethod, EndpointHealth, OfEndpoint, Printer } from "./printer.ts";
import { hashRows, memberRows, statusRows } from "./rows.ts";

type Permission = AuthRoleGetResponse["perm"][number];

export class SimplePrinter implements Printer {
  readonly #isHex: boolean;
  /** Values without their keys. */
  valueOnly = false;

  constructor(isHex: boolean) {
    this.#isHex = isHex;
  }

  #kv(kv: KeyValue | undefined): void {
    if (kv !== undefined) out(keyValueText(kv, this.#isHex, this.valueOnly));
  }

  del(response: DeleteRangeResponse): void {
    out(`${response.deleted}\n`);
    for (const kv of response.prevKVs) this.#kv(kv);
  }

  get(response: RangeResponse): void {
    for (const kv of response.kvs) this.#kv(kv);
  }

  put(response: PutResponse): void {
    out("OK\n");
    this.#kv(response.prevKV);
  }

  txn(response: TxnResponse): void {
    out(response.succeeded ? "SUCCESS\n" : "FAILURE\n");
    for (const answer of response.responses) {
      out("\n");
      if (answer.kind === "deleteRange") this.del(answer.deleteRange);
      else if (answer.kind === "put") this.put(answer.put);
      else if (answer.kind === "range") this.get(answer.range);
      else out("unexpected response\n");
    }
  }

  watch(response: WatchResponse): void {
    for (const event of response.events) {
      out(`${eventTypeName(event.type)}\n`);
      this.#kv(event.prevKV);
      this.#kv(event.kv);
    }
  }

  grant(response: LeaseGrantResponse): void {
    out(`lease ${paddedID(response.id)} granted with TTL(${response.ttl}s)\n`);
  }

  revoke(id: bigint): void {
    out(`lease ${paddedID(id)} revoked\n`);
  }

  keepAlive(response: LeaseKeepAliveResponse): void {
    out(`lease ${paddedID(response.id)} keepalived with TTL(${response.ttl})\n`);
  }

  timeToLive(response: LeaseTimeToLiveResponse, withKeys: boolean): void {
    const id = paddedID(response.ID);
    if (response.grantedTTL === 0n && response.TTL === -1n) {
      out(`lease ${id} already expired\n`);
      return;
    }
    const { grantedTTL, TTL } = response;
    out(`lease ${id} granted with TTL(${grantedTTL}s), remaining(${TTL}s)`);
    if (withKeys) {
      out(", attached keys([");
      response.keys.forEach((key, i) => {
        if (i > 0) out(" ");
        out(key);
      });
      out("])");
    }
    out("\n");
  }

  leases(response: LeaseLeasesResponse): void {
    out(`found ${response.leases.length} leases\n`);
    for (const { ID } of response.leases) out(`${paddedID(ID)}\n`);
  }

  alarms(response: AlarmResponse): void {
    for (const { memberID, alarm } of response.alarms) {
      const id = memberID === 0n ? "" : `memberID:${memberID} `;
      out(`${id}${alarm === 0 ? "" : `alarm:${alarmName(alarm)} `}\n`);
    }
  }

  memberAdd(response: MemberAddResponse): void {
    const how = response.member?.isLearner === true ? " as learner " : " ";
    const id = (response.member?.ID ?? 0n).toString(16).padStart(16);
    const cluster = (headerOf(response.header)?.clusterID ?? 0n).toString(16).padStart(16);
    out(`Member ${id} added${how}to cluster ${cluster}\n`);
  }

  memberChange(text: string): void {
    out(`${text}\n`);
  }

  memberList(response: MemberListResponse): void {
    printRows(memberRows(response).rows);
  }

  endpointHealth(list: readonly EndpointHealth[]): void {
    for (const { endpoint, took, error } of list) {
      if (error === "") {
        out(`${endpoint} is healthy: successfully committed proposal: took = ${took}\n`);
      } else err(`${endpoint} is unhealthy: failed to commit proposal: ${error}\n`);
    }
  }

  endpointStatus(list: readonly OfEndpoint<StatusResponse>[]): void {
    printRows(statusRows(list).rows);
  }

  endpointHashKV(list: readonly OfEndpoint<HashKVResponse>[]): void {
    printRows(hashRows(list).rows);
  }

  moveLeader(text: string): void {
    out(`${text}\n`);
  }

  downgrade(text: string): void {
    out(`${text}\n`);
  }

  roleGet(role: string, response: AuthRoleGetResponse): void {
    out(`Role ${role}\n`);
    const isRoot = role === "root" && response.perm.length === 0;
    const sections = [
      ["KV Read:", Permission_Type.READ],
      ["KV Write:", Permission_Type.WRITE],
    ] as const;
    for (const [title, type] of sections) {
      out(`${title}\n`);
      if (isRoot) out("\t[, <open ended>\n");
      for (const permission of response.perm) {
        if (permission.permType === type || permission.permType === Permission_Type.READWRITE) {
          out(rangeText(permission));
        }
      }
    }
  }

  roleList(response: AuthRoleListResponse): void {
    for (const role of response.roles) out(`${role}\n`);
  }

  userGet(user: string, response: AuthUserGetResponse): void {
    out(`User: ${user}\nRoles:${response.roles.map((role) => ` ${role}`).join("")}\n`);
  }

  userList(response: AuthUserListResponse): void {
    for (const user of response.users) out(`${user}\n`);
  }

  authStatus(response: AuthStatusResponse): void {
    out(`Authentication Status: ${response.enabled}\nAuthRevision: ${response.authRevision}\n`);
  }

  authChange(text: string, _method: AnyMethod): void {
    out(`${text}\n`);
  }
}

function printRows(rows: readonly (readonly string[])[]): void {
  for (const row of rows) out(`${row.join(", ")}\n`);
}

function rangeText({ key, rangeEnd }: Permission): string {
  const begin = Buffer.from(key).toString();
  if (rangeEnd.length === 0) return `\t${begin}\n`;
  const isOpen = rangeEnd.length === 1 && rangeEnd[0] === 0;
  const end = isOpen ? "<open ended>" : `${Buffer.from(rangeEnd).toString()})`;
  const isPrefix = key.length > 0 && equalBytes(prefixEnd(key), rangeEnd);
  return `\t[${begin}, ${end}${isPrefix ? ` (prefix ${begin})` : ""}\n`;
}
