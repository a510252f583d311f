/**
 * mvccpb: what is stored for a key, and the event a watcher sees.
 *
 * The bytes of `KeyValue` are what HashKV hashes on every member, so its encoding is exact: fields
 * in number order, zero values left out.
 */

import { create } from "@bufbuild/protobuf";
import { EMPTY_BYTES } from "@etcd-ts/base";

import { KeyValueSchema } from "../gen/mvccpb/kv_pb.ts";
import type { KeyValue as GeneratedKeyValue } from "../gen/mvccpb/kv_pb.ts";
import { MessageCodec, writeBytes, writeID, writeMessage, writeNumber } from "./fields.ts";

/** mvccpb.KeyValue. */
export interface KeyValue {
  readonly key: Uint8Array;
  /** Revision of the put that began the current life of the key. */
  readonly createRevision: number;
  /** Revision of the last put. */
  readonly modRevision: number;
  /** Puts since creation; 0 marks a deletion. */
  readonly version: number;
  readonly value: Uint8Array;
  /** 0n for none. */
  readonly lease: bigint;
  /**
   * The whole message as it is stored, if the holder has it: `encode` then writes these bytes and
   * looks at nothing else. Whoever changes a field (such as dropping the value) leaves it out.
   */
  readonly encoded?: Uint8Array | undefined;
}

/** Counters beyond 2^53 - 1 are refused: no revision gets there. */
export const KeyValueCodec = new MessageCodec<KeyValue>({
  create: () => ({
    key: EMPTY_BYTES,
    createRevision: 0,
    modRevision: 0,
    version: 0,
    value: EMPTY_BYTES,
    lease: 0n,
    encoded: undefined,
  }),
  encode(message, writer) {
    if (message.encoded !== undefined) {
      writer.raw(message.encoded);
      return;
    }
    writeBytes(writer, 1, message.key);
    writeNumber(writer, 2, message.createRevision);
    writeNumber(writer, 3, message.modRevision);
    writeNumber(writer, 4, message.version);
    writeBytes(writer, 5, message.value);
    writeID(writer, 6, message.lease);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.key = reader.view();
        return true;
      case 2:
        draft.createRevision = reader.int64Number();
        return true;
      case 3:
        draft.modRevision = reader.int64Number();
        return true;
      case 4:
        draft.version = reader.int64Number();
        return true;
      case 5:
        draft.value = reader.view();
        return true;
      case 6:
        draft.lease = reader.int64();
        return true;
      default:
        return false;
    }
  },
});

/** The same record, for a response that is used as generated. */
export function generatedKeyValue(kv: KeyValue): GeneratedKeyValue {
  return create(KeyValueSchema, {
    key: kv.key,
    createRevision: BigInt(kv.createRevision),
    modRevision: BigInt(kv.modRevision),
    version: BigInt(kv.version),
    value: kv.value,
    lease: kv.lease,
  });
}

/** mvccpb.Event.EventType. */
export const EventType = { PUT: 0, DELETE: 1 } as const;

/** mvccpb.Event. */
export interface Event {
  /** One of `EventType`; other numbers are kept as they came. */
  readonly type: number;
  /** After the change; a deletion carries only key and mod revision. */
  readonly kv: KeyValue | undefined;
  /** Before the change, if asked for. */
  readonly prevKV: KeyValue | undefined;
}

export const EventCodec = new MessageCodec<Event>({
  create: () => ({ type: EventType.PUT, kv: undefined, prevKV: undefined }),
  encode(message, writer) {
    writeNumber(writer, 1, message.type);
    writeMessage(writer, 2, KeyValueCodec, message.kv);
    writeMessage(writer, 3, KeyValueCodec, message.prevKV);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.type = reader.int32();
        return true;
      case 2:
        draft.kv = KeyValueCodec.decodeField(draft.kv, reader);
        return true;
      case 3:
        draft.prevKV = KeyValueCodec.decodeField(draft.prevKV, reader);
        return true;
      default:
        return false;
    }
  },
});
