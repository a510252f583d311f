/**
 * etcdserverpb.KV without transactions: range, put, delete range, compaction.
 *
 * Counters in requests come from strangers, so they are clamped to ±(2^53 - 1) where they are
 * decoded: the order against real revisions is kept. Counters in responses are refused beyond it.
 */

import { EMPTY_BYTES } from "@etcd-ts/base";
import type { WireWriter } from "@etcd-ts/base";

import {
  append,
  MessageCodec,
  writeBool,
  writeBytes,
  writeID,
  writeMessage,
  writeMessages,
  writeNumber,
} from "./fields.ts";
import { KeyValueCodec } from "./key-value.ts";
import type { KeyValue } from "./key-value.ts";
import { ResponseHeaderCodec } from "./response-header.ts";
import type { ResponseHeader } from "./response-header.ts";

/** etcdserverpb.RangeRequest.SortOrder. */
export const SortOrder = { NONE: 0, ASCEND: 1, DESCEND: 2 } as const;

/** etcdserverpb.RangeRequest.SortTarget. */
export const SortTarget = { KEY: 0, VERSION: 1, CREATE: 2, MOD: 3, VALUE: 4 } as const;

/** etcdserverpb.RangeRequest. Zero is "off" or "default" in every field but `key`. */
export interface RangeRequest {
  readonly key: Uint8Array;
  /** Empty: only `key`. One zero byte: all keys at or after `key`. */
  readonly rangeEnd: Uint8Array;
  readonly limit: number;
  /** 0 or below: the current one. */
  readonly revision: number;
  /** One of `SortOrder`; other numbers are kept as they came. */
  readonly sortOrder: number;
  /** One of `SortTarget`; other numbers are kept as they came. */
  readonly sortTarget: number;
  readonly serializable: boolean;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  readonly minModRevision: number;
  readonly maxModRevision: number;
  readonly minCreateRevision: number;
  readonly maxCreateRevision: number;
}

export const RangeRequestCodec = new MessageCodec<RangeRequest>({
  create: () => ({
    key: EMPTY_BYTES,
    rangeEnd: EMPTY_BYTES,
    limit: 0,
    revision: 0,
    sortOrder: SortOrder.NONE,
    sortTarget: SortTarget.KEY,
    serializable: false,
    keysOnly: false,
    countOnly: false,
    minModRevision: 0,
    maxModRevision: 0,
    minCreateRevision: 0,
    maxCreateRevision: 0,
  }),
  encode(message, writer) {
    writeBytes(writer, 1, message.key);
    writeBytes(writer, 2, message.rangeEnd);
    writeNumber(writer, 3, message.limit);
    writeNumber(writer, 4, message.revision);
    writeNumber(writer, 5, message.sortOrder);
    writeNumber(writer, 6, message.sortTarget);
    writeBool(writer, 7, message.serializable);
    writeBool(writer, 8, message.keysOnly);
    writeBool(writer, 9, message.countOnly);
    writeNumber(writer, 10, message.minModRevision);
    writeNumber(writer, 11, message.maxModRevision);
    writeNumber(writer, 12, message.minCreateRevision);
    writeNumber(writer, 13, message.maxCreateRevision);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.key = reader.view();
        return true;
      case 2:
        draft.rangeEnd = reader.view();
        return true;
      case 3:
        draft.limit = reader.int64NumberClamped();
        return true;
      case 4:
        draft.revision = reader.int64NumberClamped();
        return true;
      case 5:
        draft.sortOrder = reader.int32();
        return true;
      case 6:
        draft.sortTarget = reader.int32();
        return true;
      case 7:
        draft.serializable = reader.bool();
        return true;
      case 8:
        draft.keysOnly = reader.bool();
        return true;
      case 9:
        draft.countOnly = reader.bool();
        return true;
      case 10:
        draft.minModRevision = reader.int64NumberClamped();
        return true;
      case 11:
        draft.maxModRevision = reader.int64NumberClamped();
        return true;
      case 12:
        draft.minCreateRevision = reader.int64NumberClamped();
        return true;
      case 13:
        draft.maxCreateRevision = reader.int64NumberClamped();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.RangeResponse. */
export interface RangeResponse {
  readonly header: ResponseHeader | undefined;
  readonly kvs: readonly KeyValue[];
  /** Whether `limit` left keys out. */
  readonly more: boolean;
  /** All keys in the range, whatever the limit and filters. */
  readonly count: number;
}

export const RangeResponseCodec = new MessageCodec<RangeResponse>({
  create: () => ({ header: undefined, kvs: [], more: false, count: 0 }),
  encode(message, writer) {
    writeMessage(writer, 1, ResponseHeaderCodec, message.header);
    writeMessages(writer, 2, KeyValueCodec, message.kvs);
    writeBool(writer, 3, message.more);
    writeNumber(writer, 4, message.count);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.header = ResponseHeaderCodec.decodeField(draft.header, reader);
        return true;
      case 2:
        append(draft.kvs, KeyValueCodec.decodeField(undefined, reader));
        return true;
      case 3:
        draft.more = reader.bool();
        return true;
      case 4:
        draft.count = reader.int64Number();
        return true;
      default:
        return false;
    }
  },
});

/** Appends the fields of a RangeResponse with one pair, `stored`, behind its header. */
export function writeOnlyPair(writer: WireWriter, stored: Uint8Array): void {
  writer.bytesField(2, stored);
  writer.varintField(4, 1);
}

/** etcdserverpb.PutRequest. */
export interface PutRequest {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** 0n for none. */
  readonly lease: bigint;
  readonly prevKV: boolean;
  /** Keep the value there is; `value` must be empty. */
  readonly ignoreValue: boolean;
  /** Keep the lease there is; `lease` must be 0n. */
  readonly ignoreLease: boolean;
}

export const PutRequestCodec = new MessageCodec<PutRequest>({
  create: () => ({
    key: EMPTY_BYTES,
    value: EMPTY_BYTES,
    lease: 0n,
    prevKV: false,
    ignoreValue: false,
    ignoreLease: false,
  }),
  encode(message, writer) {
    writeBytes(writer, 1, message.key);
    writeBytes(writer, 2, message.value);
    writeID(writer, 3, message.lease);
    writeBool(writer, 4, message.prevKV);
    writeBool(writer, 5, message.ignoreValue);
    writeBool(writer, 6, message.ignoreLease);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.key = reader.view();
        return true;
      case 2:
        draft.value = reader.view();
        return true;
      case 3:
        draft.lease = reader.int64();
        return true;
      case 4:
        draft.prevKV = reader.bool();
        return true;
      case 5:
        draft.ignoreValue = reader.bool();
        return true;
      case 6:
        draft.ignoreLease = reader.bool();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.PutResponse. */
export interface PutResponse {
  readonly header: ResponseHeader | undefined;
  readonly prevKV: KeyValue | undefined;
}

export const PutResponseCodec = new MessageCodec<PutResponse>({
  create: () => ({ header: undefined, prevKV: undefined }),
  encode(message, writer) {
    writeMessage(writer, 1, ResponseHeaderCodec, message.header);
    writeMessage(writer, 2, KeyValueCodec, message.prevKV);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.header = ResponseHeaderCodec.decodeField(draft.header, reader);
        return true;
      case 2:
        draft.prevKV = KeyValueCodec.decodeField(draft.prevKV, reader);
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.DeleteRangeRequest. */
export interface DeleteRangeRequest {
  readonly key: Uint8Array;
  /** Empty: only `key`. One zero byte: all keys at or after `key`. */
  readonly rangeEnd: Uint8Array;
  readonly prevKV: boolean;
}

export const DeleteRangeRequestCodec = new MessageCodec<DeleteRangeRequest>({
  create: () => ({ key: EMPTY_BYTES, rangeEnd: EMPTY_BYTES, prevKV: false }),
  encode(message, writer) {
    writeBytes(writer, 1, message.key);
    writeBytes(writer, 2, message.rangeEnd);
    writeBool(writer, 3, message.prevKV);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.key = reader.view();
        return true;
      case 2:
        draft.rangeEnd = reader.view();
        return true;
      case 3:
        draft.prevKV = reader.bool();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.DeleteRangeResponse. */
export interface DeleteRangeResponse {
  readonly header: ResponseHeader | undefined;
  readonly deleted: number;
  readonly prevKVs: readonly KeyValue[];
}

export const DeleteRangeResponseCodec = new MessageCodec<DeleteRangeResponse>({
  create: () => ({ header: undefined, deleted: 0, prevKVs: [] }),
  encode(message, writer) {
    writeMessage(writer, 1, ResponseHeaderCodec, message.header);
    writeNumber(writer, 2, message.deleted);
    writeMessages(writer, 3, KeyValueCodec, message.prevKVs);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.header = ResponseHeaderCodec.decodeField(draft.header, reader);
        return true;
      case 2:
        draft.deleted = reader.int64Number();
        return true;
      case 3:
        append(draft.prevKVs, KeyValueCodec.decodeField(undefined, reader));
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.CompactionRequest. */
export interface CompactionRequest {
  readonly revision: number;
  /** Answer only when the old revisions are gone from the disk. */
  readonly physical: boolean;
}

export const CompactionRequestCodec = new MessageCodec<CompactionRequest>({
  create: () => ({ revision: 0, physical: false }),
  encode(message, writer) {
    writeNumber(writer, 1, message.revision);
    writeBool(writer, 2, message.physical);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.revision = reader.int64NumberClamped();
        return true;
      case 2:
        draft.physical = reader.bool();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.CompactionResponse. */
export interface CompactionResponse {
  readonly header: ResponseHeader | undefined;
}

export const CompactionResponseCodec = new MessageCodec<CompactionResponse>({
  create: () => ({ header: undefined }),
  encode(message, writer) {
    writeMessage(writer, 1, ResponseHeaderCodec, message.header);
  },
  field(draft, reader) {
    if (reader.field !== 1) return false;
    draft.header = ResponseHeaderCodec.decodeField(draft.header, reader);
    return true;
  },
});
