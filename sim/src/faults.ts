/**
 * What goes wrong, and when: one fault after another, drawn by weight; several may last at once.
 * Each is undone by itself after a while, or by `heal`.
 */

import { EtcdError, randomBelow, sleep } from "@etcd-ts/base";
import type { SeededRandom } from "@etcd-ts/base";
import { CompactionRequestCodec } from "@etcd-ts/api";
import type { CompactionResponse } from "@etcd-ts/api";
import type { MemberChangeResult, MemberListResult } from "@etcd-ts/etcdserver";

import type { Call, SimCluster } from "./cluster.ts";
import type { SimMember } from "./member.ts";
import { FAULTS, around, pick } from "./options.ts";
import type { Fault } from "./options.ts";

const CALL_TIMEOUT_MS = 8000;
const LASTS_MS = 6000;

export class Faults {
  readonly #cluster: SimCluster;
  readonly #random: SeededRandom;
  #isOver = false;
  /** Members that are to start again in a while. */
  readonly #restarting = new Set<SimMember>();
  /** Replacing a member takes several steps; one at a time. */
  #replacing: Promise<void> | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.split("faults");
    cluster.onStopped = (member) => this.#restartLater(member);
  }

  start(): void {
    this.#running = this.#loop();
  }

  async #loop(): Promise<void> {
    const { clock, options } = this.#cluster;
    while (!this.#isOver) {
      await sleep(clock, around(this.#random, options.faultIntervalMs));
      if (this.#isOver) return;
      this.#replaceLost();
      const fault = this.#draw();
      if (fault !== undefined) this.#begin(fault);
    }
  }

  /** Ends all faults, and starts who is down; then the cluster must come to rest. */
  async heal(): Promise<void> {
    this.#isOver = true;
    const { network, members } = this.#cluster;
    network.heal();
    for (const member of members) {
      // Faults that wait in a disk go with a restart only.
      if (member.isDiskFaulty) member.crash("kill");
      member.slowness = 1;
      member.life?.clock.resume();
      member.start();
    }
    await this.#running;
    await this.#replacing;
    while (this.#cluster.change !== undefined) await sleep(this.#cluster.clock, 500);
    this.#replaceLost();
    await this.#replacing;
  }

  #draw(): Fault | undefined {
    const { weights } = this.#cluster.options;
    let left = randomBelow(
      this.#random,
      FAULTS.reduce((sum, fault) => sum + weights[fault], 0) || 1,
    );
    return FAULTS.find((fault) => {
      left -= weights[fault];
      return left < 0;
    });
  }

  #begin(fault: Fault): void {
    const up = this.#cluster.members.filter(({ isUp }) => isUp);
    if (up.length === 0) return;
    const member = pick(this.#random, up);
    if (!this.#strike(fault, member)) return;
    const { trace, clock } = this.#cluster;
    trace.count(`fault: ${fault}`);
    trace.tell(`${Math.round(clock.monotonicMs())} ms fault: ${fault} (${member.name})`);
  }

  /** False if it cannot be now. */
  #strike(fault: Fault, member: SimMember): boolean {
    switch (fault) {
      case "power loss":
        return this.#crash(member, "power loss");
      case "kill":
        return this.#crash(member, "kill");
      case "power loss in a write":
        member.isDiskFaulty = true;
        member.disk.powerOffAfter(randomBelow(this.#random, 30));
        this.#restartLater(member);
        return true;
      case "full disk":
        return this.#failDisk(member, "write", "NO_SPACE");
      case "sync error":
        return this.#failDisk(member, "dataSync", "IO");
      case "bit rot":
        return this.#rot(member);
      case "slow disk":
        member.slowness = pick(this.#random, [5, 50, 500]);
        this.#later(() => {
          member.slowness = 1;
        });
        return true;
      case "pause":
        return this.#pause(member);
      case "paused leader":
        return this.#pause(this.#cluster.leader());
      case "clock jump":
        member.life?.clock.jumpWall(
          (this.#random.float() - 0.5) * pick(this.#random, [1e3, 1e6, 1e9]),
        );
        return true;
      case "partition":
      case "one-way partition":
      case "cut link":
      case "isolated leader":
        return this.#partition(fault);
      case "leader transfer":
        return this.#transfer(member);
      case "compaction":
        return this.#compact(member);
      case "defragmentation":
        return this.#call<void>(member, "defragmentations", (server, context, done) =>
          server.defragment(context, () => undefined, done),
        );
      case "member replacement":
        return this.#replace(member);
    }
  }

  #later(run: () => void): void {
    this.#cluster.clock.setTimer(around(this.#random, LASTS_MS), run);
  }

  /** Sees to it that a member that is down, or may go down by a fault in its disk, comes up again. */
  #restartLater(member: SimMember): void {
    if (this.#restarting.has(member) || this.#isOver) return;
    this.#restarting.add(member);
    this.#later(() => {
      this.#restarting.delete(member);
      if (member.disk.isPoweredOff && member.isUp) member.crash("power loss");
      if (!member.isUp) void this.#checkAndStart(member);
      else if (member.isDiskFaulty) this.#restartLater(member);
    });
  }

  async #checkAndStart(member: SimMember): Promise<void> {
    if (member.isUp || member.isRemoved) return;
    await member.checkDatabase().catch((error: Error) => this.#cluster.broken(error));
    member.start();
  }

  /** At most one member is damaged at a time: the others must hold what it loses. */
  #rot(member: SimMember): boolean {
    const { members, broken } = this.#mayRot();
    if (broken || members < 3) return false;
    member.crash("kill");
    member.isRotten = true;
    member
      .rot(this.#random)
      .then((isRotten) => {
        member.isRotten = isRotten;
        if (isRotten) this.#cluster.trace.count("bits flipped");
        member.start();
      })
      .catch((error: Error) => this.#cluster.broken(error));
    return true;
  }

  #mayRot(): { members: number; broken: boolean } {
    const { members } = this.#cluster;
    const broken = this.#replacing !== undefined || members.some(({ isRotten }) => isRotten);
    return { members: members.length, broken };
  }

  /** The operator sees to a member that will not start again. */
  #replaceLost(): void {
    const lost = this.#cluster.members.find(({ isLost }) => isLost);
    if (lost === undefined || this.#replacing !== undefined) return;
    if (this.#beginReplacing(lost)) this.#cluster.trace.count("lost members replaced");
  }

  #crash(member: SimMember, kind: "power loss" | "kill"): boolean {
    member.crash(kind);
    this.#restartLater(member);
    return true;
  }

  #failDisk(member: SimMember, operation: "write" | "dataSync", code: "NO_SPACE" | "IO"): boolean {
    member.isDiskFaulty = true;
    const after = randomBelow(this.#random, 20);
    member.disk.fail({ operation, code, after, times: 1 + randomBelow(this.#random, 50) });
    this.#restartLater(member);
    return true;
  }

  #pause(member: SimMember | undefined): boolean {
    const clock = member?.life?.clock;
    if (clock === undefined || clock.isPaused) return false;
    if (member === this.#cluster.leader()) this.#cluster.trace.count("leaders paused");
    clock.pause();
    const callsFirst = this.#random.float() < 0.5;
    this.#later(() => clock.resume(callsFirst));
    return true;
  }

  #partition(fault: "partition" | "one-way partition" | "cut link" | "isolated leader"): boolean {
    const { members, network } = this.#cluster;
    if (members.length < 2) return false;
    const links: (readonly [string, string])[] = [];
    const side = this.#side(fault);
    for (const a of members) {
      for (const b of members) {
        if (side.includes(a) && !side.includes(b)) {
          links.push([a.name, b.name]);
          if (fault !== "one-way partition") links.push([b.name, a.name]);
        }
      }
    }
    const cut = fault === "cut link" ? links.slice(0, 2) : links;
    if (cut.length === 0) return false;
    for (const [from, to] of cut) network.cut(from, to);
    // Links mend one by one, in any order.
    for (const [from, to] of cut) this.#later(() => network.mend(from, to));
    return true;
  }

  #side(fault: Fault): SimMember[] {
    const { members } = this.#cluster;
    const leader = this.#cluster.leader();
    if (fault === "isolated leader" && leader !== undefined) return [leader];
    const side = members.filter(() => this.#random.float() < 0.5);
    return side.length === 0 || fault === "cut link" ? [pick(this.#random, members)] : side;
  }

  #transfer(member: SimMember): boolean {
    const leader = this.#cluster.leader();
    if (leader === undefined || leader === member || member.server === undefined) return false;
    const id = member.server.facts().memberID;
    return this.#call<void>(leader, "leadership transferred", (server, context, done) =>
      server.moveLeader(id, context, done),
    );
  }

  #compact(member: SimMember): boolean {
    const { server } = member;
    if (server === undefined || server.store.currentRevision < 4) return false;
    const revision = 1 + randomBelow(this.#random, server.store.currentRevision);
    const request = CompactionRequestCodec.create({
      revision,
      physical: this.#random.float() < 0.3,
    });
    return this.#call<CompactionResponse>(member, "compactions", (server, context, done) =>
      server.compact(request, context, done),
    );
  }

  /** An operator's call whose failure is nothing; a success is counted. */
  #call<T>(member: SimMember, counter: string, start: Call<T>): boolean {
    if (member.server === undefined) return false;
    const cluster = this.#cluster;
    cluster.call<T>(member, CALL_TIMEOUT_MS, start).then(
      () => cluster.trace.count(counter),
      (error: Error) => {
        if (!(error instanceof EtcdError)) cluster.broken(error);
      },
    );
    return true;
  }

  #replace(member: SimMember): boolean {
    const { members } = this.#cluster;
    if (this.#replacing !== undefined || members.length < 3 || member.server === undefined)
      return false;
    // A member that may not start again is not counted on while another one goes.
    if (members.some((other) => other !== member && other.isRotten)) return false;
    return this.#beginReplacing(member);
  }

  /** Nobody joins a cluster that is downgraded. */
  #beginReplacing(member: SimMember): boolean {
    const cluster = this.#cluster;
    if (cluster.change !== undefined) return false;
    cluster.change = "replacement";
    this.#replacing = this.#replaceNow(member).finally(() => {
      this.#replacing = undefined;
      cluster.change = undefined;
    });
    return true;
  }

  /**
   * Removes a member and brings a new one in its place: added as a learner and then promoted, or as
   * a voter at once.
   */
  async #replaceNow(old: SimMember): Promise<void> {
    const cluster = this.#cluster;
    const { trace } = cluster;
    const oldID = old.id;
    const isGone = (list: MemberListResult): boolean =>
      list.members.every(({ id }) => id !== oldID);
    const removed = await this.#untilListed(isGone, (via) =>
      cluster.call<MemberChangeResult>(via, CALL_TIMEOUT_MS, (server, context, done) =>
        server.memberRemove(oldID, context, done),
      ),
    );
    if (!removed) return;
    old.isRemoved = true;
    old.crash("kill");
    trace.count("members removed");
    cluster.members = cluster.members.filter((member) => member !== old);
    const url = cluster.urlOfNext();
    const asLearner = this.#random.float() < 0.7;
    const added = await this.#untilListed(
      ({ members }) => members.some(({ peerURLs }) => peerURLs.includes(url)),
      (via) =>
        cluster.call<MemberChangeResult>(via, CALL_TIMEOUT_MS, (server, context, done) =>
          server.memberAdd([url], asLearner, context, done),
        ),
    );
    if (!added) return;
    trace.count(asLearner ? "learners added" : "voters added");
    const fresh = cluster.newcomer();
    cluster.members = [...cluster.members, fresh];
    fresh.start();
    const joined = await this.#untilListed(
      ({ members }) =>
        fresh.hasJoined &&
        members.some(({ peerURLs, isLearner }) => peerURLs.includes(url) && !isLearner),
      (via) => {
        this.#restartIfDown(fresh);
        if (!asLearner) return Promise.resolve();
        const id = fresh.server?.facts().memberID ?? 0n;
        return cluster.call<MemberChangeResult>(via, CALL_TIMEOUT_MS, (server, context, done) =>
          server.memberPromote(id, context, done),
        );
      },
    );
    if (!joined) return;
    if (asLearner) trace.count("learners promoted");
    trace.count("members replaced");
  }

  #restartIfDown(member: SimMember): void {
    if (!member.isUp) member.start();
  }

  /** Tries until the members agree that it is so; false after a long time. */
  async #untilListed(
    isDone: (list: MemberListResult) => boolean,
    attempt: (via: SimMember) => Promise<unknown>,
  ): Promise<boolean> {
    const cluster = this.#cluster;
    for (let tries = 0; tries < 100; tries++) {
      await sleep(cluster.clock, around(this.#random, 1500));
      const up = cluster.members.filter(
        ({ server }) => server !== undefined && !server.facts().isLearner,
      );
      if (up.length === 0) continue;
      const via = pick(this.#random, up);
      try {
        const list = (): Promise<MemberListResult> =>
          cluster.call<MemberListResult>(via, CALL_TIMEOUT_MS, (server, context, done) =>
            server.memberList(true, context, done),
          );
        if (isDone(await list())) return true;
        await attempt(via);
        if (isDone(await list())) return true;
      } catch (error) {
        if (!(error instanceof EtcdError)) throw error;
      }
    }
    return false;
  }
}
