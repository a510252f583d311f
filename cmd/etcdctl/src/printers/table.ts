/** The format `table`: only for lists of members and endpoints. */

import type { HashKVResponse, MemberListResponse, StatusResponse } from "@etcd-ts/api";
import { out, textTable } from "@etcd-ts/cli";

import { unsupported } from "./printer.ts";
import type { EndpointHealth, OfEndpoint, Printer } from "./printer.ts";
import { hashRows, healthRows, memberRows, statusRows } from "./rows.ts";
import type { Rows } from "./rows.ts";

function print({ header, rows }: Rows): void {
  out(textTable(header, rows));
}

function refuse(): never {
  unsupported("table");
}

export class TablePrinter implements Printer {
  readonly del = refuse;
  readonly get = refuse;
  readonly put = refuse;
  readonly txn = refuse;
  readonly watch = refuse;
  readonly grant = refuse;
  readonly revoke = refuse;
  readonly keepAlive = refuse;
  readonly timeToLive = refuse;
  readonly leases = refuse;
  readonly alarms = refuse;
  readonly memberAdd = refuse;
  readonly memberChange = refuse;
  readonly moveLeader = refuse;
  readonly downgrade = refuse;
  readonly roleGet = refuse;
  readonly roleList = refuse;
  readonly userGet = refuse;
  readonly userList = refuse;
  readonly authStatus = refuse;
  readonly authChange = refuse;

  memberList(response: MemberListResponse): void {
    print(memberRows(response));
  }

  endpointHealth(list: readonly EndpointHealth[]): void {
    print(healthRows(list));
  }

  endpointStatus(list: readonly OfEndpoint<StatusResponse>[]): void {
    print(statusRows(list));
  }

  endpointHashKV(list: readonly OfEndpoint<HashKVResponse>[]): void {
    print(hashRows(list));
  }
}
