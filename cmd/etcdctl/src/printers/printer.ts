/**
 * What every output format can be asked to print. A format that cannot print something ends the
 * command, as the reference does.
 */

import { AlarmType, EventType } from "@etcd-ts/api";
import type {
  AlarmResponse,
  AuthRoleGetResponse,
  AuthRoleListResponse,
  AuthStatusResponse,
  AuthUserGetResponse,
  AuthUserListResponse,
  DeleteRangeResponse,
  DowngradeResponse,
  HashKVResponse,
  KeyValue,
  LeaseGrantResponse,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseRevokeResponse,
  LeaseTimeToLiveResponse,
  MemberAddResponse,
  MemberListResponse,
  MethodDescriptor,
  MoveLeaderResponse,
  PutResponse,
  RangeResponse,
  StatusResponse,
  TxnResponse,
  WatchResponse,
} from "@etcd-ts/api";

import { EXIT, ExitError } from "../exit.ts";

/** A header as the hand-written messages have it, or as the generated ones do. */
export type AnyHeader =
  | {
      readonly clusterID: bigint;
      readonly memberID: bigint;
      readonly revision: number;
      readonly raftTerm: number;
    }
  | {
      readonly clusterId: bigint;
      readonly memberId: bigint;
      readonly revision: bigint;
      readonly raftTerm: bigint;
    };

export interface Header {
  readonly clusterID: bigint;
  readonly memberID: bigint;
  readonly revision: bigint;
  readonly raftTerm: bigint;
}

export function headerOf(header: AnyHeader | undefined): Header | undefined {
  if (header === undefined) return undefined;
  return {
    clusterID: "clusterID" in header ? header.clusterID : header.clusterId,
    memberID: "memberID" in header ? header.memberID : header.memberId,
    revision: BigInt(header.revision),
    raftTerm: BigInt(header.raftTerm),
  };
}

export interface EndpointHealth {
  readonly endpoint: string;
  readonly isHealthy: boolean;
  readonly took: string;
  /** Empty if all is well. */
  readonly error: string;
}

export interface OfEndpoint<T> {
  readonly endpoint: string;
  readonly response: T;
}

/** Responses of which only one line of text and the header can be told. */
export interface PlainResponse {
  readonly header?: AnyHeader | undefined;
}

export interface Printer {
  del(response: DeleteRangeResponse): void;
  get(response: RangeResponse): void;
  put(response: PutResponse): void;
  txn(response: TxnResponse): void;
  watch(response: WatchResponse): void;
  grant(response: LeaseGrantResponse): void;
  revoke(id: bigint, response: LeaseRevokeResponse): void;
  keepAlive(response: LeaseKeepAliveResponse): void;
  timeToLive(response: LeaseTimeToLiveResponse, withKeys: boolean): void;
  leases(response: LeaseLeasesResponse): void;
  alarms(response: AlarmResponse): void;
  memberAdd(response: MemberAddResponse): void;
  /** Removed, updated or promoted; `text` is the simple form. */
  memberChange(text: string, method: AnyMethod, response: MemberAddResponse | MemberChange): void;
  memberList(response: MemberListResponse): void;
  endpointHealth(list: readonly EndpointHealth[]): void;
  endpointStatus(list: readonly OfEndpoint<StatusResponse>[]): void;
  endpointHashKV(list: readonly OfEndpoint<HashKVResponse>[]): void;
  moveLeader(text: string, response: MoveLeaderResponse): void;
  downgrade(text: string, response: DowngradeResponse): void;
  roleGet(role: string, response: AuthRoleGetResponse): void;
  roleList(response: AuthRoleListResponse): void;
  userGet(user: string, response: AuthUserGetResponse): void;
  userList(response: AuthUserListResponse): void;
  authStatus(response: AuthStatusResponse): void;
  /** A change of users or roles; `text` is the simple form. */
  authChange(text: string, method: AnyMethod, response: PlainResponse): void;
}

export type AnyMethod = Pick<MethodDescriptor, "path">;

export interface MemberChange extends PlainResponse {
  readonly members: MemberListResponse["members"];
}

export function unsupported(format: string): never {
  throw new ExitError(EXIT.badFeature, `${format} not supported as output format`);
}

/** `PUT`, `DELETE`, or the number of something newer. */
export function eventTypeName(type: number): string {
  if (type === EventType.PUT) return "PUT";
  return type === EventType.DELETE ? "DELETE" : String(type);
}

export function alarmName(alarm: number): string {
  if (alarm === AlarmType.NOSPACE) return "NOSPACE";
  if (alarm === AlarmType.CORRUPT) return "CORRUPT";
  return alarm === AlarmType.NONE ? "NONE" : String(alarm);
}

export function paddedID(id: bigint): string {
  const text = (id < 0n ? -id : id).toString(16);
  return id < 0n ? `-${text.padStart(15, "0")}` : text.padStart(16, "0");
}

/** One key and value on two lines; `\xNN` for every byte with `isHex`. */
export function keyValueText(kv: KeyValue, isHex: boolean, valueOnly: boolean): Buffer {
  const newline = Buffer.of(0x0a);
  const shown = (bytes: Uint8Array): Buffer =>
    isHex
      ? Buffer.from(Buffer.from(bytes).toString("hex").replace(/../g, "\\x$&"))
      : Buffer.from(bytes);
  const value = [shown(kv.value), newline];
  return Buffer.concat(valueOnly ? value : [shown(kv.key), newline, ...value]);
}
