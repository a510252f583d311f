/**
 * The alarms of the cluster: replicated through the log, kept in the `alarm` bucket.
 *
 * Invariant: memory and bucket hold the same set.
 */

import { AlarmType } from "@etcd-ts/api";
import type { AlarmMember } from "@etcd-ts/api";
import { deleteAlarm, readAlarms, writeAlarm } from "@etcd-ts/storage";
import type { Backend } from "@etcd-ts/storage";

export class AlarmStore {
  #backend: Backend;
  /** By alarm type, then member. */
  readonly #alarms = new Map<number, Map<bigint, AlarmMember>>();

  /** Reads what the backend holds. */
  constructor(backend: Backend) {
    this.#backend = backend;
    this.recover(backend);
  }

  /** Reads another backend, after a snapshot replaced the old one. */
  recover(backend: Backend): void {
    this.#backend = backend;
    this.#alarms.clear();
    for (const alarm of readAlarms(backend)) this.#byMember(alarm.alarm).set(alarm.memberID, alarm);
  }

  /** Raises an alarm; one that is raised already is given back again. */
  activate(memberID: bigint, alarm: number): AlarmMember {
    const members = this.#byMember(alarm);
    const raised = members.get(memberID);
    if (raised !== undefined) return raised;
    const added: AlarmMember = { memberID, alarm };
    members.set(memberID, added);
    writeAlarm(this.#backend, added);
    return added;
  }

  /** Lifts an alarm; undefined if it was not raised. */
  deactivate(memberID: bigint, alarm: number): AlarmMember | undefined {
    const members = this.#byMember(alarm);
    const raised = members.get(memberID);
    if (raised === undefined) return undefined;
    members.delete(memberID);
    deleteAlarm(this.#backend, raised);
    return raised;
  }

  /** @param alarm - `AlarmType.NONE` for all */
  get(alarm: number): AlarmMember[] {
    if (alarm !== AlarmType.NONE) return [...(this.#alarms.get(alarm)?.values() ?? [])];
    return [...this.#alarms.values()].flatMap((members) => [...members.values()]);
  }

  has(alarm: number): boolean {
    return (this.#alarms.get(alarm)?.size ?? 0) > 0;
  }

  #byMember(alarm: number): Map<bigint, AlarmMember> {
    let members = this.#alarms.get(alarm);
    if (members === undefined) {
      members = new Map();
      this.#alarms.set(alarm, members);
    }
    return members;
  }
}

/** "NOSPACE" and the like, as labels and status texts spell it. */
export function alarmName(alarm: number): string {
  for (const [name, value] of Object.entries(AlarmType)) if (value === alarm) return name;
  return String(alarm);
}
