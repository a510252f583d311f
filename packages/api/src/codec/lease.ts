/**
 * Leases on the wire (etcdserverpb.Lease), in the log, and on disk (leasepb.Lease).
 *
 * Seconds in requests are clamped to ±(2^53 - 1) where they are decoded, like every counter of a
 * request; seconds in responses and on disk are refused beyond it.
 */

import {
  append,
  MessageCodec,
  writeID,
  writeMessage,
  writeMessages,
  writeNumber,
  writeString,
} from "./fields.ts";
import { ResponseHeaderCodec } from "./response-header.ts";
import type { ResponseHeader } from "./response-header.ts";

/** etcdserverpb.LeaseGrantRequest. */
export interface LeaseGrantRequest {
  /** Seconds. */
  readonly ttl: number;
  /** 0n: the server chooses. */
  readonly id: bigint;
}

export const LeaseGrantRequestCodec = new MessageCodec<LeaseGrantRequest>({
  create: () => ({ ttl: 0, id: 0n }),
  encode(message, writer) {
    writeNumber(writer, 1, message.ttl);
    writeID(writer, 2, message.id);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.ttl = reader.int64NumberClamped();
        return true;
      case 2:
        draft.id = reader.int64();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.LeaseGrantResponse. */
export interface LeaseGrantResponse {
  readonly header: ResponseHeader | undefined;
  readonly id: bigint;
  /** Seconds, as granted. */
  readonly ttl: number;
  /** Always empty: failures are gRPC errors. */
  readonly error: string;
}

export const LeaseGrantResponseCodec = new MessageCodec<LeaseGrantResponse>({
  create: () => ({ header: undefined, id: 0n, ttl: 0, error: "" }),
  encode(message, writer) {
    writeMessage(writer, 1, ResponseHeaderCodec, message.header);
    writeID(writer, 2, message.id);
    writeNumber(writer, 3, message.ttl);
    writeString(writer, 4, message.error);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.header = ResponseHeaderCodec.decodeField(draft.header, reader);
        return true;
      case 2:
        draft.id = reader.int64();
        return true;
      case 3:
        draft.ttl = reader.int64Number();
        return true;
      case 4:
        draft.error = reader.string();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.LeaseRevokeRequest. */
export interface LeaseRevokeRequest {
  readonly id: bigint;
}

export const LeaseRevokeRequestCodec = new MessageCodec<LeaseRevokeRequest>({
  create: () => ({ id: 0n }),
  encode(message, writer) {
    writeID(writer, 1, message.id);
  },
  field(draft, reader) {
    if (reader.field !== 1) return false;
    draft.id = reader.int64();
    return true;
  },
});

/** etcdserverpb.LeaseRevokeResponse. */
export interface LeaseRevokeResponse {
  readonly header: ResponseHeader | undefined;
}

export const LeaseRevokeResponseCodec = new MessageCodec<LeaseRevokeResponse>({
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

/** etcdserverpb.LeaseKeepAliveRequest. */
export interface LeaseKeepAliveRequest {
  readonly id: bigint;
}

export const LeaseKeepAliveRequestCodec = new MessageCodec<LeaseKeepAliveRequest>({
  create: () => ({ id: 0n }),
  encode(message, writer) {
    writeID(writer, 1, message.id);
  },
  field(draft, reader) {
    if (reader.field !== 1) return false;
    draft.id = reader.int64();
    return true;
  },
});

/** etcdserverpb.LeaseKeepAliveResponse. */
export interface LeaseKeepAliveResponse {
  readonly header: ResponseHeader | undefined;
  readonly id: bigint;
  /** Seconds; 0: there is no such lease. */
  readonly ttl: number;
}

export const LeaseKeepAliveResponseCodec = new MessageCodec<LeaseKeepAliveResponse>({
  create: () => ({ header: undefined, id: 0n, ttl: 0 }),
  encode(message, writer) {
    writeMessage(writer, 1, ResponseHeaderCodec, message.header);
    writeID(writer, 2, message.id);
    writeNumber(writer, 3, message.ttl);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.header = ResponseHeaderCodec.decodeField(draft.header, reader);
        return true;
      case 2:
        draft.id = reader.int64();
        return true;
      case 3:
        draft.ttl = reader.int64Number();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.LeaseCheckpoint. */
export interface LeaseCheckpoint {
  readonly id: bigint;
  /** Seconds left when the leader took the checkpoint. */
  readonly remainingTTL: number;
}

export const LeaseCheckpointCodec = new MessageCodec<LeaseCheckpoint>({
  create: () => ({ id: 0n, remainingTTL: 0 }),
  encode(message, writer) {
    writeID(writer, 1, message.id);
    writeNumber(writer, 2, message.remainingTTL);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.id = reader.int64();
        return true;
      case 2:
        draft.remainingTTL = reader.int64NumberClamped();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.LeaseCheckpointRequest. */
export interface LeaseCheckpointRequest {
  readonly checkpoints: readonly LeaseCheckpoint[];
}

export const LeaseCheckpointRequestCodec = new MessageCodec<LeaseCheckpointRequest>({
  create: () => ({ checkpoints: [] }),
  encode(message, writer) {
    writeMessages(writer, 1, LeaseCheckpointCodec, message.checkpoints);
  },
  field(draft, reader) {
    if (reader.field !== 1) return false;
    append(draft.checkpoints, LeaseCheckpointCodec.decodeField(undefined, reader));
    return true;
  },
});

/** leasepb.Lease: the value under a lease's id in the `lease` bucket. */
export interface LeaseRecord {
  readonly id: bigint;
  /** Seconds, as granted. */
  readonly ttl: number;
  /** Seconds left at the last checkpoint; 0 without one. */
  readonly remainingTTL: number;
}

export const LeaseRecordCodec = new MessageCodec<LeaseRecord>({
  create: () => ({ id: 0n, ttl: 0, remainingTTL: 0 }),
  encode(message, writer) {
    writeID(writer, 1, message.id);
    writeNumber(writer, 2, message.ttl);
    writeNumber(writer, 3, message.remainingTTL);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.id = reader.int64();
        return true;
      case 2:
        draft.ttl = reader.int64Number();
        return true;
      case 3:
        draft.remainingTTL = reader.int64Number();
        return true;
      default:
        return false;
    }
  },
});
