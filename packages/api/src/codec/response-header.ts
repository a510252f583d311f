/** etcdserverpb.ResponseHeader: who answered, and at which revision. */

import { create } from "@bufbuild/protobuf";
import { EMPTY_BYTES, WireWriter } from "@etcd-ts/base";

import { ResponseHeaderSchema } from "../gen/etcdserverpb/rpc_pb.ts";
import type { ResponseHeader as GeneratedHeader } from "../gen/etcdserverpb/rpc_pb.ts";
import { MessageCodec, writeID, writeNumber } from "./fields.ts";

export interface ResponseHeader {
  readonly clusterID: bigint;
  readonly memberID: bigint;
  readonly revision: number;
  readonly raftTerm: number;
}

/** Counters beyond 2^53 - 1 are refused. */
export const ResponseHeaderCodec = new MessageCodec<ResponseHeader>({
  create: () => ({ clusterID: 0n, memberID: 0n, revision: 0, raftTerm: 0 }),
  encode(message, writer) {
    writeIdentities(writer, message.clusterID, message.memberID);
    writeNumber(writer, 3, message.revision);
    writeNumber(writer, 4, message.raftTerm);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.clusterID = reader.uint64();
        return true;
      case 2:
        draft.memberID = reader.uint64();
        return true;
      case 3:
        draft.revision = reader.int64Number();
        return true;
      case 4:
        draft.raftTerm = reader.uint64Number();
        return true;
      default:
        return false;
    }
  },
});

/** Every answer of a member begins with the same two ids: they are kept as they were written. */
let identities = { clusterID: 0n, memberID: 0n, bytes: EMPTY_BYTES };

function writeIdentities(writer: WireWriter, clusterID: bigint, memberID: bigint): void {
  // Inside transactions headers carry none.
  if (clusterID === 0n && memberID === 0n) return;
  if (identities.clusterID !== clusterID || identities.memberID !== memberID) {
    const once = new WireWriter(24);
    writeID(once, 1, clusterID);
    writeID(once, 2, memberID);
    identities = { clusterID, memberID, bytes: once.finish() };
  }
  writer.raw(identities.bytes);
}

/** The same header, for a response that is used as generated. */
export function generatedHeader(header: ResponseHeader): GeneratedHeader {
  return create(ResponseHeaderSchema, {
    clusterId: header.clusterID,
    memberId: header.memberID,
    revision: BigInt(header.revision),
    raftTerm: BigInt(header.raftTerm),
  });
}
