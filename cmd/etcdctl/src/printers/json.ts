/** The format `json`: one line, field by field as the reference writes its own structures. */

import type {
  AlarmResponse,
  AuthRoleGetResponse,
  AuthRoleListResponse,
  AuthStatusResponse,
  AuthUserGetResponse,
  AuthUserListResponse,
  DeleteRangeResponse,
  DowngradeResponse,
  Event,
  HashKVResponse,
  KeyValue,
  LeaseGrantResponse,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseRevokeResponse,
  LeaseTimeToLiveResponse,
  Member,
  MemberAddResponse,
  MemberListResponse,
  MoveLeaderResponse,
  PutResponse,
  RangeResponse,
  ResponseOp,
  StatusResponse,
  TxnResponse,
  WatchResponse,
} from "@etcd-ts/api";
import { hexFromID } from "@etcd-ts/base";
import { goJSON, GoObject, out } from "@etcd-ts/cli";
import type { GoValue } from "@etcd-ts/cli";

import { headerOf } from "./printer.ts";
import type {
  AnyHeader,
  AnyMethod,
  EndpointHealth,
  MemberChange,
  OfEndpoint,
  PlainResponse,
  Printer,
} from "./printer.ts";

function object(): GoObject {
  return new GoObject();
}

function headerJSON(header: AnyHeader | undefined): GoObject | undefined {
  const fields = headerOf(header);
  return fields === undefined
    ? undefined
    : object().fields({
        cluster_id: fields.clusterID,
        member_id: fields.memberID,
        revision: fields.revision,
        raft_term: fields.raftTerm,
      });
}

/** A message that begins with its header. */
function message(header: AnyHeader | undefined): GoObject {
  return object().fields({ header: headerJSON(header) });
}

function kvJSON(kv: KeyValue): GoObject {
  return object().fields({
    key: kv.key,
    create_revision: kv.createRevision,
    mod_revision: kv.modRevision,
    version: kv.version,
    value: kv.value,
    lease: kv.lease,
  });
}

function optionalKV(kv: KeyValue | undefined): GoObject | undefined {
  return kv === undefined ? undefined : kvJSON(kv);
}

function rangeJSON(response: RangeResponse): GoObject {
  return message(response.header).fields({
    kvs: response.kvs.map((kv) => kvJSON(kv)),
    more: response.more,
    count: response.count,
  });
}

function putJSON(response: PutResponse): GoObject {
  return message(response.header).fields({ prev_kv: optionalKV(response.prevKV) });
}

function deleteJSON(response: DeleteRangeResponse): GoObject {
  return message(response.header).fields({
    deleted: response.deleted,
    prev_kvs: response.prevKVs.map((kv) => kvJSON(kv)),
  });
}

function txnJSON(response: TxnResponse): GoObject {
  return message(response.header).fields({
    succeeded: response.succeeded,
    responses: response.responses.map((answer) => object().always({ Response: opJSON(answer) })),
  });
}

function opJSON(answer: ResponseOp): GoValue {
  switch (answer.kind) {
    case "range":
      return object().fields({ response_range: rangeJSON(answer.range) });
    case "put":
      return object().fields({ response_put: putJSON(answer.put) });
    case "deleteRange":
      return object().fields({ response_delete_range: deleteJSON(answer.deleteRange) });
    case "txn":
      return object().fields({ response_txn: txnJSON(answer.txn) });
    case "none":
      return null;
  }
}

function eventJSON(event: Event): GoObject {
  return object().fields({
    type: event.type,
    kv: optionalKV(event.kv),
    prev_kv: optionalKV(event.prevKV),
  });
}

function memberJSON(member: Member): GoObject {
  return object().fields({
    ID: member.ID,
    name: member.name,
    peerURLs: member.peerURLs,
    clientURLs: member.clientURLs,
    isLearner: member.isLearner,
  });
}

function print(value: GoValue): void {
  out(`${goJSON(value)}\n`);
}

/** An empty list is `null`. */
function list<T>(items: readonly T[], convert: (item: T) => GoValue): GoValue {
  return items.length === 0 ? null : items.map((item) => convert(item));
}

export class JsonPrinter implements Printer {
  readonly #isHex: boolean;

  constructor(isHex: boolean) {
    this.#isHex = isHex;
  }

  del(response: DeleteRangeResponse): void {
    print(deleteJSON(response));
  }

  get(response: RangeResponse): void {
    print(rangeJSON(response));
  }

  put(response: PutResponse): void {
    print(putJSON(response));
  }

  txn(response: TxnResponse): void {
    print(txnJSON(response));
  }

  watch(response: WatchResponse): void {
    print(
      object().always({
        Header: headerJSON(response.header) ?? object(),
        Events: response.events.map((event) => eventJSON(event)),
        CompactRevision: response.compactRevision,
        Canceled: response.canceled,
        Created: response.created,
      }),
    );
  }

  grant(response: LeaseGrantResponse): void {
    const { id, ttl, error } = response;
    print(object().embed(headerJSON(response.header)).always({ ID: id, TTL: ttl, Error: error }));
  }

  revoke(_id: bigint, response: LeaseRevokeResponse): void {
    print(message(response.header));
  }

  keepAlive(response: LeaseKeepAliveResponse): void {
    const { id, ttl } = response;
    print(object().embed(headerJSON(response.header)).always({ ID: id, TTL: ttl }));
  }

  timeToLive(response: LeaseTimeToLiveResponse): void {
    print(
      object()
        .embed(headerJSON(response.header))
        .always({
          id: response.ID,
          ttl: response.TTL,
          "granted-ttl": response.grantedTTL,
          keys: list(response.keys, (key) => key),
        }),
    );
  }

  leases(response: LeaseLeasesResponse): void {
    const leases = response.leases.map(({ ID }) => object().always({ id: ID }));
    print(object().embed(headerJSON(response.header)).always({ leases }));
  }

  alarms(response: AlarmResponse): void {
    const alarms = response.alarms.map(({ memberID, alarm }) =>
      object().fields({ memberID, alarm }),
    );
    print(message(response.header).fields({ alarms }));
  }

  memberAdd(response: MemberAddResponse): void {
    const member = response.member === undefined ? undefined : memberJSON(response.member);
    const members = response.members.map((other) => memberJSON(other));
    print(message(response.header).fields({ member, members }));
  }

  memberChange(_text: string, _method: AnyMethod, response: MemberChange): void {
    const members = response.members.map((member) => memberJSON(member));
    print(message(response.header).fields({ members }));
  }

  memberList(response: MemberListResponse): void {
    if (!this.#isHex) {
      const members = response.members.map((member) => memberJSON(member));
      print(message(response.header).fields({ members }));
      return;
    }
    const header = headerOf(response.header);
    const shown = object().always({
      header: object().always({
        cluster_id: hexFromID(header?.clusterID ?? 0n),
        member_id: hexFromID(header?.memberID ?? 0n),
        raft_term: header?.raftTerm ?? 0n,
      }),
    });
    const members = response.members.map((member) =>
      object().always({
        ID: hexFromID(member.ID),
        name: member.name,
        peerURLs: list(member.peerURLs, (url) => url),
        clientURLs: list(member.clientURLs, (url) => url),
      }),
    );
    print(shown.fields({ members }));
  }

  endpointHealth(health: readonly EndpointHealth[]): void {
    print(
      list(health, ({ endpoint, isHealthy, took, error }) =>
        object().always({ endpoint, health: isHealthy, took }).fields({ error }),
      ),
    );
  }

  endpointStatus(statuses: readonly OfEndpoint<StatusResponse>[]): void {
    print(
      list(statuses, ({ endpoint, response }) =>
        object().always({ Endpoint: endpoint, Status: statusJSON(response) }),
      ),
    );
  }

  endpointHashKV(hashes: readonly OfEndpoint<HashKVResponse>[]): void {
    print(
      list(hashes, ({ endpoint, response }) => {
        const hash = message(response.header).fields({
          hash: response.hash,
          compact_revision: response.compactRevision,
          hash_revision: response.hashRevision,
        });
        return object().always({ Endpoint: endpoint, HashKV: hash });
      }),
    );
  }

  moveLeader(_text: string, response: MoveLeaderResponse): void {
    print(message(response.header));
  }

  downgrade(_text: string, response: DowngradeResponse): void {
    print(message(response.header).fields({ version: response.version }));
  }

  roleGet(_role: string, response: AuthRoleGetResponse): void {
    const perm = response.perm.map(({ permType, key, rangeEnd }) =>
      object().fields({ permType, key, range_end: rangeEnd }),
    );
    print(message(response.header).fields({ perm }));
  }

  roleList(response: AuthRoleListResponse): void {
    print(message(response.header).fields({ roles: response.roles }));
  }

  userGet(_user: string, response: AuthUserGetResponse): void {
    print(message(response.header).fields({ roles: response.roles }));
  }

  userList(response: AuthUserListResponse): void {
    print(message(response.header).fields({ users: response.users }));
  }

  authStatus(response: AuthStatusResponse): void {
    const { enabled, authRevision } = response;
    print(message(response.header).fields({ enabled, authRevision }));
  }

  authChange(_text: string, _method: AnyMethod, response: PlainResponse): void {
    print(message(response.header));
  }
}

function statusJSON(response: StatusResponse): GoObject {
  const info = response.downgradeInfo;
  return message(response.header).fields({
    version: response.version,
    dbSize: response.dbSize,
    leader: response.leader,
    raftIndex: response.raftIndex,
    raftTerm: response.raftTerm,
    raftAppliedIndex: response.raftAppliedIndex,
    errors: response.errors,
    dbSizeInUse: response.dbSizeInUse,
    isLearner: response.isLearner,
    storageVersion: response.storageVersion,
    dbSizeQuota: response.dbSizeQuota,
    downgradeInfo:
      info === undefined
        ? undefined
        : object().fields({ enabled: info.enabled, targetVersion: info.targetVersion }),
  });
}
