/** Alarms: what the log carries to raise and lift them, and what the `alarm` bucket keeps. */

import {
  append,
  MessageCodec,
  writeID,
  writeMessage,
  writeMessages,
  writeNumber,
} from "./fields.ts";
import { ResponseHeaderCodec } from "./response-header.ts";
import type { ResponseHeader } from "./response-header.ts";

/** etcdserverpb.AlarmType. */
export const AlarmType = { NONE: 0, NOSPACE: 1, CORRUPT: 2 } as const;

/** etcdserverpb.AlarmRequest.AlarmAction. */
export const AlarmAction = { GET: 0, ACTIVATE: 1, DEACTIVATE: 2 } as const;

/** etcdserverpb.AlarmMember. */
export interface AlarmMember {
  readonly memberID: bigint;
  /** One of `AlarmType`; other numbers are kept as they came. */
  readonly alarm: number;
}

export const AlarmMemberCodec = new MessageCodec<AlarmMember>({
  create: () => ({ memberID: 0n, alarm: AlarmType.NONE }),
  encode(message, writer) {
    writeID(writer, 1, message.memberID);
    writeNumber(writer, 2, message.alarm);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.memberID = reader.uint64();
        return true;
      case 2:
        draft.alarm = reader.int32();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.AlarmRequest. */
export interface AlarmRequest {
  /** One of `AlarmAction`; other numbers are kept as they came. */
  readonly action: number;
  readonly memberID: bigint;
  /** One of `AlarmType`; other numbers are kept as they came. */
  readonly alarm: number;
}

export const AlarmRequestCodec = new MessageCodec<AlarmRequest>({
  create: () => ({ action: AlarmAction.GET, memberID: 0n, alarm: AlarmType.NONE }),
  encode(message, writer) {
    writeNumber(writer, 1, message.action);
    writeID(writer, 2, message.memberID);
    writeNumber(writer, 3, message.alarm);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.action = reader.int32();
        return true;
      case 2:
        draft.memberID = reader.uint64();
        return true;
      case 3:
        draft.alarm = reader.int32();
        return true;
      default:
        return false;
    }
  },
});

/** etcdserverpb.AlarmResponse. */
export interface AlarmResponse {
  readonly header: ResponseHeader | undefined;
  readonly alarms: readonly AlarmMember[];
}

export const AlarmResponseCodec = new MessageCodec<AlarmResponse>({
  create: () => ({ header: undefined, alarms: [] }),
  encode(message, writer) {
    writeMessage(writer, 1, ResponseHeaderCodec, message.header);
    writeMessages(writer, 2, AlarmMemberCodec, message.alarms);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.header = ResponseHeaderCodec.decodeField(draft.header, reader);
        return true;
      case 2:
        append(draft.alarms, AlarmMemberCodec.decodeField(undefined, reader));
        return true;
      default:
        return false;
    }
  },
});
