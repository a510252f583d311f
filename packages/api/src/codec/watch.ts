/**
 * etcdserverpb.Watch: both directions of the one stream.
 *
 * A watch id chosen by a client is clamped to ±(2^53 - 1) like every counter of a request.
 */

import { EMPTY_BYTES, unreachable, WIRE_BYTES } from "@etcd-ts/base";
import type { Codec, WireReader, WireWriter } from "@etcd-ts/base";

import {
  append,
  MessageCodec,
  writeBool,
  writeBytes,
  writeMessage,
  writeMessages,
  writeNumber,
  writeString,
} from "./fields.ts";
import { EventCodec } from "./key-value.ts";
import type { Event } from "./key-value.ts";
import { ResponseHeaderCodec } from "./response-header.ts";
import type { ResponseHeader } from "./response-header.ts";

/** etcdserverpb.WatchCreateRequest.FilterType. */
export const FilterType = { NOPUT: 0, NODELETE: 1 } as const;

/** etcdserverpb.WatchCreateRequest. */
export interface WatchCreateRequest {
  readonly key: Uint8Array;
  /** Empty: only `key`. One zero byte: all keys at or after `key`. */
  readonly rangeEnd: Uint8Array;
  /** 0: from the next change on. */
  readonly startRevision: number;
  readonly progressNotify: boolean;
  /** Each one of `FilterType`; other numbers are kept as they came. */
  readonly filters: readonly number[];
  readonly prevKV: boolean;
  /** 0: the server chooses. */
  readonly watchID: number;
  readonly fragment: boolean;
}

export const WatchCreateRequestCodec = new MessageCodec<WatchCreateRequest>({
  create: () => ({
    key: EMPTY_BYTES,
    rangeEnd: EMPTY_BYTES,
    startRevision: 0,
    progressNotify: false,
    filters: [],
    prevKV: false,
    watchID: 0,
    fragment: false,
  }),
  encode(message, writer) {
    writeBytes(writer, 1, message.key);
    writeBytes(writer, 2, message.rangeEnd);
    writeNumber(writer, 3, message.startRevision);
    writeBool(writer, 4, message.progressNotify);
    if (message.filters.length > 0) {
      const mark = writer.beginMessage(5);
      for (const filter of message.filters) writer.int64Number(filter);
      writer.endMessage(mark);
    }
    writeBool(writer, 6, message.prevKV);
    writeNumber(writer, 7, message.watchID);
    writeBool(writer, 8, message.fragment);
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
        draft.startRevision = reader.int64NumberClamped();
        return true;
      case 4:
        draft.progressNotify = reader.bool();
        return true;
      case 5:
        readNumbers(reader, draft.filters);
        return true;
      case 6:
        draft.prevKV = reader.bool();
        return true;
      case 7:
        draft.watchID = reader.int64NumberClamped();
        return true;
      case 8:
        draft.fragment = reader.bool();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.WatchCancelRequest. */
export interface WatchCancelRequest {
  readonly watchID: number;
}

export const WatchCancelRequestCodec = new MessageCodec<WatchCancelRequest>({
  create: () => ({ watchID: 0 }),
  encode(message, writer) {
    writeNumber(writer, 1, message.watchID);
  },
  field(draft, reader) {
    if (reader.field !== 1) return false;
    draft.watchID = reader.int64NumberClamped();
    return true;
  },
});

/** etcdserverpb.WatchRequest. `progress` has no fields. */
export type WatchRequest =
  | { readonly kind: "create"; readonly create: WatchCreateRequest }
  | { readonly kind: "cancel"; readonly cancel: WatchCancelRequest }
  | { readonly kind: "progress" }
  | { readonly kind: "none" };

export const WatchRequestCodec: Codec<WatchRequest> = {
  encode(message, writer) {
    switch (message.kind) {
      case "create":
        return writeMessage(writer, 1, WatchCreateRequestCodec, message.create);
      case "cancel":
        return writeMessage(writer, 2, WatchCancelRequestCodec, message.cancel);
      case "progress":
        return writer.bytesField(3, EMPTY_BYTES);
      case "none":
        return;
      default:
        return unreachable(message, "WatchRequestCodec.encode");
    }
  },
  decode(reader) {
    let request: WatchRequest = { kind: "none" };
    while (reader.next()) {
      switch (reader.field) {
        case 1: {
          const previous: WatchCreateRequest | undefined =
            request.kind === "create" ? request.create : undefined;
          const create = WatchCreateRequestCodec.decodeField(previous, reader);
          request = { kind: "create", create };
          break;
        }
        case 2: {
          const previous: WatchCancelRequest | undefined =
            request.kind === "cancel" ? request.cancel : undefined;
          const cancel = WatchCancelRequestCodec.decodeField(previous, reader);
          request = { kind: "cancel", cancel };
          break;
        }
        case 3: {
          const progress = reader.message();
          while (progress.next()) progress.skip();
          request = { kind: "progress" };
          break;
        }
        default:
          reader.skip();
      }
    }
    return request;
  },
};

/** etcdserverpb.WatchResponse. */
export interface WatchResponse {
  readonly header: ResponseHeader | undefined;
  /** -1 in an answer that belongs to no watch. */
  readonly watchID: number;
  readonly created: boolean;
  readonly canceled: boolean;
  /** Not 0: the watch ended because its revisions up to here are gone. */
  readonly compactRevision: number;
  readonly cancelReason: string;
  /** More events of the same batch follow. */
  readonly fragment: boolean;
  readonly events: readonly Event[];
}

export const WatchResponseCodec = new MessageCodec<WatchResponse>({
  create: () => ({
    header: undefined,
    watchID: 0,
    created: false,
    canceled: false,
    compactRevision: 0,
    cancelReason: "",
    fragment: false,
    events: [],
  }),
  encode(message, writer) {
    writeMessage(writer, 1, ResponseHeaderCodec, message.header);
    writeNumber(writer, 2, message.watchID);
    writeBool(writer, 3, message.created);
    writeBool(writer, 4, message.canceled);
    writeNumber(writer, 5, message.compactRevision);
    writeString(writer, 6, message.cancelReason);
    writeBool(writer, 7, message.fragment);
    if (message.events.length > 0) writeEvents(writer, message.events);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.header = ResponseHeaderCodec.decodeField(draft.header, reader);
        return true;
      case 2:
        draft.watchID = reader.int64NumberClamped();
        return true;
      case 3:
        draft.created = reader.bool();
        return true;
      case 4:
        draft.canceled = reader.bool();
        return true;
      case 5:
        draft.compactRevision = reader.int64Number();
        return true;
      case 6:
        draft.cancelReason = reader.string();
        return true;
      case 7:
        draft.fragment = reader.bool();
        return true;
      case 11:
        append(draft.events, EventCodec.decodeField(undefined, reader));
        return true;
      default:
        return false;
    }
  },
});

/** Longer lists of events are not kept. */
const KEPT_EVENTS_BYTES_MAX = 64 * 1024;
let latestEvents: readonly Event[] | undefined;
let latestBytes: Uint8Array | undefined;

/**
 * Watchers of the same keys are told of the same list of events, one after the other: from the
 * second on it is kept as it was written. A list does not change once it was encoded.
 */
function writeEvents(writer: WireWriter, events: readonly Event[]): void {
  if (events === latestEvents && latestBytes !== undefined) {
    writer.raw(latestBytes);
    return;
  }
  const start = writer.length;
  writeMessages(writer, 11, EventCodec, events);
  const isRepeated = events === latestEvents;
  const isShort = writer.length - start <= KEPT_EVENTS_BYTES_MAX;
  latestBytes = isRepeated && isShort ? writer.buffer.slice(start, writer.length) : undefined;
  latestEvents = isShort ? events : undefined;
}

/** A repeated enum: packed, or one number a field as older writers have it. */
function readNumbers(reader: WireReader, into: readonly number[]): void {
  if (reader.wireType !== WIRE_BYTES) {
    append(into, reader.int32());
    return;
  }
  // A fresh reader stands at a bare varint until its first `next`.
  const packed = reader.message();
  while (packed.offset < packed.end) append(into, packed.int32());
}
