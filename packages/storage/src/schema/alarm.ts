/** The `alarm` bucket: AlarmMember in the key, nothing in the value. */

import { CorruptionError, decodeMessage, EMPTY_BYTES, encodeMessage } from "@etcd-ts/base";
import { AlarmMemberCodec } from "@etcd-ts/api";
import type { AlarmMember } from "@etcd-ts/api";
import type { Backend } from "../backend/backend.ts";

/** @throws {CorruptionError} */
export function readAlarms(backend: Backend): AlarmMember[] {
  const alarms: AlarmMember[] = [];
  backend.forEach("alarm", (key) => {
    try {
      alarms.push(decodeMessage(AlarmMemberCodec, key));
    } catch (cause) {
      throw new CorruptionError("an alarm cannot be read", backend.path, 0, { cause });
    }
  });
  return alarms;
}

export function writeAlarm(backend: Backend, alarm: AlarmMember): void {
  backend.put("alarm", encodeMessage(AlarmMemberCodec, alarm), EMPTY_BYTES);
}

export function deleteAlarm(backend: Backend, alarm: AlarmMember): void {
  backend.delete("alarm", encodeMessage(AlarmMemberCodec, alarm));
}
