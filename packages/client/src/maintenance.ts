/**
 * Looking after members. Everything but alarms and downgrades concerns the one member that is
 * asked: use a client with one endpoint.
 */

import { create } from "@bufbuild/protobuf";
import {
  AlarmAction,
  AlarmRequestCodec,
  AlarmType,
  DefragmentRequestSchema,
  DowngradeRequest_DowngradeAction,
  DowngradeRequestSchema,
  HashKVRequestSchema,
  HashRequestSchema,
  Maintenance,
  MoveLeaderRequestSchema,
  SnapshotRequestSchema,
  StatusRequestSchema,
} from "@etcd-ts/api";
import type {
  AlarmMember,
  AlarmResponse,
  DefragmentResponse,
  DowngradeResponse,
  HashKVResponse,
  HashResponse,
  MoveLeaderResponse,
  SnapshotResponse,
  StatusResponse,
} from "@etcd-ts/api";

import type { Caller } from "./caller.ts";
import { typedError } from "./errors.ts";
import type { RequestOptions } from "./options.ts";

export type DowngradeAction = keyof typeof DowngradeRequest_DowngradeAction;

export class MaintenanceClient {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  status(options: RequestOptions = {}): Promise<StatusResponse> {
    return this.#caller.unary(Maintenance.Status, create(StatusRequestSchema), "read", options);
  }

  /** Hashes the member's whole database, its own records included: for one member at two times. */
  hash(options: RequestOptions = {}): Promise<HashResponse> {
    return this.#caller.unary(Maintenance.Hash, create(HashRequestSchema), "read", options);
  }

  /** @param revision - hashes up to it; 0 for the newest */
  hashKV(revision = 0, options: RequestOptions = {}): Promise<HashKVResponse> {
    const request = create(HashKVRequestSchema, { revision: BigInt(revision) });
    return this.#caller.unary(Maintenance.HashKV, request, "read", options);
  }

  /** Rewrites the member's file without its free pages; the member is busy meanwhile. */
  defragment(options: RequestOptions = {}): Promise<DefragmentResponse> {
    const request = create(DefragmentRequestSchema);
    return this.#caller.unary(Maintenance.Defragment, request, "write", options);
  }

  moveLeader(targetID: bigint, options: RequestOptions = {}): Promise<MoveLeaderResponse> {
    const request = create(MoveLeaderRequestSchema, { targetID });
    return this.#caller.unary(Maintenance.MoveLeader, request, "write", options);
  }

  downgrade(
    action: DowngradeAction,
    version: string,
    options: RequestOptions = {},
  ): Promise<DowngradeResponse> {
    const request = create(DowngradeRequestSchema, {
      action: DowngradeRequest_DowngradeAction[action],
      version,
    });
    return this.#caller.unary(
      Maintenance.Downgrade,
      request,
      action === "VALIDATE" ? "read" : "write",
      options,
    );
  }

  alarms(options: RequestOptions = {}): Promise<AlarmResponse> {
    const request = AlarmRequestCodec.create({
      action: AlarmAction.GET,
      memberID: 0n,
      alarm: AlarmType.NONE,
    });
    return this.#caller.unary(Maintenance.Alarm, request, "read", options);
  }

  disarm(alarm: AlarmMember, options: RequestOptions = {}): Promise<AlarmResponse> {
    const request = AlarmRequestCodec.create({ action: AlarmAction.DEACTIVATE, ...alarm });
    return this.#caller.unary(Maintenance.Alarm, request, "write", options);
  }

  /** Lifts every alarm there is; the answer lists them and has no header. */
  async disarmAll(options: RequestOptions = {}): Promise<AlarmResponse> {
    const { alarms } = await this.alarms(options);
    const lifted: AlarmMember[] = [];
    for (const alarm of alarms) lifted.push(...(await this.disarm(alarm, options)).alarms);
    return { header: undefined, alarms: lifted };
  }

  /**
   * The member's database as a file: parts in order, the last 32 bytes are its SHA-256. An end
   * before the end fails the loop; a part is not repeated.
   */
  async *snapshot(options: RequestOptions = {}): AsyncGenerator<SnapshotResponse, void, void> {
    const { stream } = await this.#caller.stream(Maintenance.Snapshot, options);
    stream.send(create(SnapshotRequestSchema));
    stream.end();
    try {
      yield* stream;
    } catch (error) {
      throw typedError(error);
    }
  }

  /**
   * The same with what the first part says of it.
   *
   * @returns the storage version; empty from servers before 3.6
   */
  async snapshotWithVersion(options: RequestOptions = {}): Promise<{
    readonly version: string;
    readonly parts: AsyncGenerator<SnapshotResponse, void, void>;
  }> {
    const source = this.snapshot(options);
    const first = await source.next();
    async function* parts(): AsyncGenerator<SnapshotResponse, void, void> {
      if (first.done !== true) yield first.value;
      yield* source;
    }
    return { version: first.done === true ? "" : first.value.version, parts: parts() };
  }
}
