/**
 * etcdserverpb transactions: comparisons, then one of two lists of operations, which may be
 * transactions again.
 *
 * Invariant: decoding recurses once a nesting level and at most `TXN_DEPTH_MAX` levels, so no
 * message exhausts the stack. The bound counts transactions, not messages: what was decoded from a
 * client decodes again inside an InternalRaftRequest.
 */

import { EMPTY_BYTES, unreachable, WireFormatError } from "@etcd-ts/base";
import type { Codec, WireReader, WireWriter } from "@etcd-ts/base";

import {
  append,
  MessageCodec,
  writeBool,
  writeBytes,
  writeMessage,
  writeMessages,
  writeNumber,
} from "./fields.ts";
import {
  DeleteRangeRequestCodec,
  DeleteRangeResponseCodec,
  PutRequestCodec,
  PutResponseCodec,
  RangeRequestCodec,
  RangeResponseCodec,
} from "./kv.ts";
import type {
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
} from "./kv.ts";
import { ResponseHeaderCodec } from "./response-header.ts";
import type { ResponseHeader } from "./response-header.ts";

/**
 * Levels of transactions within a transaction. Every level costs at least one operation, so the
 * default budget of 128 operations (`--max-txn-ops`) allows no more either.
 */
export const TXN_DEPTH_MAX = 128;

/**
 * Messages within messages, for readers of generated messages that have to take whatever the codecs
 * here take: a transaction and its operation each level, a log entry around, a record within.
 */
export const MESSAGE_DEPTH_MAX = 2 * TXN_DEPTH_MAX + 8;

/** etcdserverpb.Compare.CompareResult. */
export const CompareResult = { EQUAL: 0, GREATER: 1, LESS: 2, NOT_EQUAL: 3 } as const;

/** etcdserverpb.Compare.CompareTarget. */
export const CompareTarget = { VERSION: 0, CREATE: 1, MOD: 2, VALUE: 3, LEASE: 4 } as const;

/** The member of the `target_union` that is set. */
export type CompareValue =
  | { readonly kind: "version"; readonly version: number }
  | { readonly kind: "createRevision"; readonly createRevision: number }
  | { readonly kind: "modRevision"; readonly modRevision: number }
  | { readonly kind: "value"; readonly value: Uint8Array }
  | { readonly kind: "lease"; readonly lease: bigint }
  | { readonly kind: "none" };

/** etcdserverpb.Compare. `target` says what is compared; `value` may name another field. */
export interface Compare {
  /** One of `CompareResult`; other numbers are kept as they came. */
  readonly result: number;
  /** One of `CompareTarget`; other numbers are kept as they came. */
  readonly target: number;
  readonly key: Uint8Array;
  /** Empty: only `key`. One zero byte: all keys at or after `key`. */
  readonly rangeEnd: Uint8Array;
  readonly value: CompareValue;
}

const NOTHING = { kind: "none" } as const;

export const CompareCodec = new MessageCodec<Compare>({
  create: () => ({
    result: CompareResult.EQUAL,
    target: CompareTarget.VERSION,
    key: EMPTY_BYTES,
    rangeEnd: EMPTY_BYTES,
    value: NOTHING,
  }),
  encode(message, writer) {
    writeNumber(writer, 1, message.result);
    writeNumber(writer, 2, message.target);
    writeBytes(writer, 3, message.key);
    writeCompareValue(message.value, writer);
    writeBytes(writer, 64, message.rangeEnd);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.result = reader.int32();
        return true;
      case 2:
        draft.target = reader.int32();
        return true;
      case 3:
        draft.key = reader.view();
        return true;
      case 4:
        draft.value = { kind: "version", version: reader.int64NumberClamped() };
        return true;
      case 5:
        draft.value = { kind: "createRevision", createRevision: reader.int64NumberClamped() };
        return true;
      case 6:
        draft.value = { kind: "modRevision", modRevision: reader.int64NumberClamped() };
        return true;
      case 7:
        draft.value = { kind: "value", value: reader.view() };
        return true;
      case 8:
        draft.value = { kind: "lease", lease: reader.int64() };
        return true;
      case 64:
        draft.rangeEnd = reader.view();
        return true;
      default:
        return false;
    }
  },
});

/** The member of a oneof is written even at its zero value: being there is the information. */
function writeCompareValue(value: CompareValue, writer: WireWriter): void {
  switch (value.kind) {
    case "version":
      return writer.varintField(4, value.version);
    case "createRevision":
      return writer.varintField(5, value.createRevision);
    case "modRevision":
      return writer.varintField(6, value.modRevision);
    case "value":
      return writer.bytesField(7, value.value);
    case "lease":
      return writer.varint64Field(8, value.lease);
    case "none":
      return;
    default:
      return unreachable(value, "writeCompareValue");
  }
}

/** etcdserverpb.RequestOp. */
export type RequestOp =
  | { readonly kind: "range"; readonly range: RangeRequest }
  | { readonly kind: "put"; readonly put: PutRequest }
  | { readonly kind: "deleteRange"; readonly deleteRange: DeleteRangeRequest }
  | { readonly kind: "txn"; readonly txn: TxnRequest }
  | { readonly kind: "none" };

export const RequestOpCodec: Codec<RequestOp> = {
  encode(message, writer) {
    switch (message.kind) {
      case "range":
        return writeMessage(writer, 1, RangeRequestCodec, message.range);
      case "put":
        return writeMessage(writer, 2, PutRequestCodec, message.put);
      case "deleteRange":
        return writeMessage(writer, 3, DeleteRangeRequestCodec, message.deleteRange);
      case "txn":
        return writeMessage(writer, 4, TxnRequestCodec, message.txn);
      case "none":
        return;
      default:
        return unreachable(message, "RequestOpCodec.encode");
    }
  },
  decode: (reader) => decodeRequestOp(reader, 0),
};

function decodeRequestOp(reader: WireReader, depth: number): RequestOp {
  let op: RequestOp = NOTHING;
  while (reader.next()) {
    switch (reader.field) {
      case 1: {
        const previous: RangeRequest | undefined = op.kind === "range" ? op.range : undefined;
        op = { kind: "range", range: RangeRequestCodec.decodeField(previous, reader) };
        break;
      }
      case 2: {
        const previous: PutRequest | undefined = op.kind === "put" ? op.put : undefined;
        op = { kind: "put", put: PutRequestCodec.decodeField(previous, reader) };
        break;
      }
      case 3: {
        const previous: DeleteRangeRequest | undefined =
          op.kind === "deleteRange" ? op.deleteRange : undefined;
        op = {
          kind: "deleteRange",
          deleteRange: DeleteRangeRequestCodec.decodeField(previous, reader),
        };
        break;
      }
      case 4: {
        const previous: TxnRequest | undefined = op.kind === "txn" ? op.txn : undefined;
        op = { kind: "txn", txn: TxnRequestCodec.decodeField(previous, reader, deeper(depth)) };
        break;
      }
      default:
        reader.skip();
    }
  }
  return op;
}

/** etcdserverpb.ResponseOp. */
export type ResponseOp =
  | { readonly kind: "range"; readonly range: RangeResponse }
  | { readonly kind: "put"; readonly put: PutResponse }
  | { readonly kind: "deleteRange"; readonly deleteRange: DeleteRangeResponse }
  | { readonly kind: "txn"; readonly txn: TxnResponse }
  | { readonly kind: "none" };

export const ResponseOpCodec: Codec<ResponseOp> = {
  encode(message, writer) {
    switch (message.kind) {
      case "range":
        return writeMessage(writer, 1, RangeResponseCodec, message.range);
      case "put":
        return writeMessage(writer, 2, PutResponseCodec, message.put);
      case "deleteRange":
        return writeMessage(writer, 3, DeleteRangeResponseCodec, message.deleteRange);
      case "txn":
        return writeMessage(writer, 4, TxnResponseCodec, message.txn);
      case "none":
        return;
      default:
        return unreachable(message, "ResponseOpCodec.encode");
    }
  },
  decode: (reader) => decodeResponseOp(reader, 0),
};

function decodeResponseOp(reader: WireReader, depth: number): ResponseOp {
  let op: ResponseOp = NOTHING;
  while (reader.next()) {
    switch (reader.field) {
      case 1: {
        const previous: RangeResponse | undefined = op.kind === "range" ? op.range : undefined;
        op = { kind: "range", range: RangeResponseCodec.decodeField(previous, reader) };
        break;
      }
      case 2: {
        const previous: PutResponse | undefined = op.kind === "put" ? op.put : undefined;
        op = { kind: "put", put: PutResponseCodec.decodeField(previous, reader) };
        break;
      }
      case 3: {
        const previous: DeleteRangeResponse | undefined =
          op.kind === "deleteRange" ? op.deleteRange : undefined;
        op = {
          kind: "deleteRange",
          deleteRange: DeleteRangeResponseCodec.decodeField(previous, reader),
        };
        break;
      }
      case 4: {
        const previous: TxnResponse | undefined = op.kind === "txn" ? op.txn : undefined;
        op = { kind: "txn", txn: TxnResponseCodec.decodeField(previous, reader, deeper(depth)) };
        break;
      }
      default:
        reader.skip();
    }
  }
  return op;
}

/** etcdserverpb.TxnRequest. */
export interface TxnRequest {
  /** All must hold for `success` to run; otherwise `failure` runs. */
  readonly compare: readonly Compare[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}

/** @throws {WireFormatError} if transactions nest deeper than `TXN_DEPTH_MAX` */
export const TxnRequestCodec: MessageCodec<TxnRequest> = new MessageCodec<TxnRequest>({
  create: () => ({ compare: [], success: [], failure: [] }),
  encode(message, writer) {
    writeMessages(writer, 1, CompareCodec, message.compare);
    writeMessages(writer, 2, RequestOpCodec, message.success);
    writeMessages(writer, 3, RequestOpCodec, message.failure);
  },
  field(draft, reader, depth) {
    switch (reader.field) {
      case 1:
        append(draft.compare, CompareCodec.decodeField(undefined, reader));
        return true;
      case 2:
        append(draft.success, decodeRequestOp(reader.message(), depth));
        return true;
      case 3:
        append(draft.failure, decodeRequestOp(reader.message(), depth));
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.TxnResponse. */
export interface TxnResponse {
  readonly header: ResponseHeader | undefined;
  /** Which list ran. */
  readonly succeeded: boolean;
  /** One an operation, in order. */
  readonly responses: readonly ResponseOp[];
}

/** @throws {WireFormatError} if transactions nest deeper than `TXN_DEPTH_MAX` */
export const TxnResponseCodec: MessageCodec<TxnResponse> = new MessageCodec<TxnResponse>({
  create: () => ({ header: undefined, succeeded: false, responses: [] }),
  encode(message, writer) {
    writeMessage(writer, 1, ResponseHeaderCodec, message.header);
    writeBool(writer, 2, message.succeeded);
    writeMessages(writer, 3, ResponseOpCodec, message.responses);
  },
  field(draft, reader, depth) {
    switch (reader.field) {
      case 1:
        draft.header = ResponseHeaderCodec.decodeField(draft.header, reader);
        return true;
      case 2:
        draft.succeeded = reader.bool();
        return true;
      case 3:
        append(draft.responses, decodeResponseOp(reader.message(), depth));
        return true;
      default:
        return false;
    }
  },
});

function deeper(depth: number): number {
  if (depth >= TXN_DEPTH_MAX) {
    throw new WireFormatError(`proto: transactions nested deeper than ${TXN_DEPTH_MAX}`);
  }
  return depth + 1;
}
