/**
 * A user with few rights, in a cluster where users count: it may write `k0` and read `k0` and, until
 * the operator takes that back, `k1`. It asks for that, and for much it has no right to, in its own
 * name, under a name nobody has, and without one.
 */

import { EtcdError, bytesFromLatin1, sleep } from "@etcd-ts/base";
import type { SeededRandom } from "@etcd-ts/base";
import {
  CompareResult,
  CompareTarget,
  DeleteRangeRequestCodec,
  PutRequestCodec,
  RangeRequestCodec,
  SERVER_ERRORS,
} from "@etcd-ts/api";
import type { PutResponse, RangeResponse } from "@etcd-ts/api";
import { ROOT_CONTEXT } from "@etcd-ts/etcdserver";
import type { AuthClaim, RequestContext } from "@etcd-ts/etcdserver";

import { userAdd } from "./auth-operator.ts";
import type { AuthOperator } from "./auth-operator.ts";
import type { AuthCheck } from "./checkers/auth-check.ts";
import type { Write } from "./checkers/model.ts";
import type { Call, SimCluster } from "./cluster.ts";
import type { SimMember } from "./member.ts";
import { around, pick } from "./options.ts";
import type { Workload } from "./workload.ts";
import { rangeText } from "./workload.ts";

const CALL_TIMEOUT_MS = 8000;
const NO_BYTES = new Uint8Array(0);
const K0 = bytesFromLatin1("k0");
const K1 = bytesFromLatin1("k1");
const ALL_KEYS = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };

/** A call that must be refused; what it would write, if it would. */
interface Attempt {
  readonly name: string;
  readonly write?: Write;
  readonly call: Call<unknown>;
}

export class Guest {
  readonly #cluster: SimCluster;
  readonly #workload: Workload;
  readonly #check: AuthCheck;
  readonly #random: SeededRandom;
  readonly #operator: AuthOperator;
  #serial = 0;

  constructor(cluster: SimCluster, workload: Workload, operator: AuthOperator, check: AuthCheck) {
    this.#cluster = cluster;
    this.#workload = workload;
    this.#operator = operator;
    this.#check = check;
    this.#random = cluster.random.split("guest");
  }

  /** Asks for one thing after another while users count. */
  async run(isOver: () => boolean): Promise<void> {
    const { clock, options } = this.#cluster;
    while (!isOver()) {
      await sleep(clock, around(this.#random, options.thinkMs));
      const member = this.#cluster.someVoter(this.#random);
      if (member === undefined || !this.#operator.era.isEnforced) continue;
      if (this.#random.float() < 0.4) await this.#use(member);
      else await this.#attempt(member, pick(this.#random, this.#attempts(member)));
    }
  }

  /** In a cluster at rest every member refuses what it must, with etcd's reason. */
  async judge(member: SimMember, carry: <T>(call: Promise<T>) => Promise<T>): Promise<void> {
    for (const attempt of this.#attempts(member)) {
      const error = await carry(this.#attempt(member, attempt));
      const isReason =
        error === SERVER_ERRORS.permissionDenied || error === SERVER_ERRORS.userEmpty;
      if (!isReason) throw error ?? new Error(`${attempt.name}: no reason`);
    }
  }

  #value(): string {
    return `g${++this.#serial}`;
  }

  /** What it has the right to; part of the history like all other calls. */
  async #use(member: SimMember): Promise<void> {
    const call = <T>(start: Call<T>): Promise<T> =>
      this.#cluster.call(member, CALL_TIMEOUT_MS, start, GUEST);
    if (this.#random.float() < 0.5) {
      const value = this.#value();
      const request = PutRequestCodec.create({ key: K0, value: bytesFromLatin1(value) });
      await this.#workload.record<PutResponse>(
        "guest",
        { kind: "write", condition: undefined, writes: [{ key: "k0", value, lease: 0n }] },
        () => call((server, context, done) => server.put(request, context, done)),
        ({ header }) => ({ revision: header!.revision, isChange: true }),
      );
      return;
    }
    const key = this.#operator.mayReadK1 === true && this.#random.float() < 0.5 ? "k1" : "k0";
    const request = RangeRequestCodec.create({ key: bytesFromLatin1(key) });
    await this.#workload.record<RangeResponse>(
      "guest",
      { kind: "read", key },
      () => call((server, context, done) => server.range(request, context, done)),
      ({ header, kvs }) => ({
        revision: header!.revision,
        isChange: false,
        read: rangeText(kvs),
      }),
    );
  }

  async #attempt(member: SimMember, attempt: Attempt): Promise<Error | undefined> {
    const { trace } = this.#cluster;
    const { era } = this.#operator;
    const { write } = attempt;
    const callMs = this.#cluster.clock.monotonicMs();
    if (write?.value !== undefined) this.#check.attempted(write.value);
    let outcome: Error | undefined;
    try {
      await this.#cluster.call<unknown>(member, CALL_TIMEOUT_MS, attempt.call);
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      outcome = error;
    }
    const isRefused =
      outcome === SERVER_ERRORS.permissionDenied || outcome === SERVER_ERRORS.userEmpty;
    if (isRefused) trace.count("calls without a right refused");
    else if (write !== undefined) this.#workload.mayHappen(attempt.name, callMs, write);
    trace.add(`${attempt.name} ${outcome?.message}`);
    if (this.#operator.era !== era) {
      if (write?.value !== undefined) this.#check.forget(write.value);
      return outcome;
    }
    this.#cluster.guard(() => this.#check.ended(`${attempt.name} at ${member.name}`, outcome));
    return outcome;
  }

  #attempts(member: SimMember): Attempt[] {
    const guest = this.#cluster.options.plant === "guest is root" ? ROOT_CONTEXT : GUEST;
    const value = this.#value();
    const put = (key: Uint8Array, as: RequestContext): Call<unknown> => {
      const request = PutRequestCodec.create({ key, value: bytesFromLatin1(value) });
      return (server, _context, done) => server.put(request, as, done);
    };
    const range = (where: { key: Uint8Array; rangeEnd?: Uint8Array }): Call<unknown> => {
      const request = RangeRequestCodec.create(where);
      return (server, _context, done) => server.range(request, guest, done);
    };
    const attempts: Attempt[] = [
      { name: "guest puts k1", write: writing("k1", value), call: put(K1, guest) },
      { name: "a stranger puts k0", write: writing("k0", value), call: put(K0, STRANGER) },
      { name: "nobody puts k0", write: writing("k0", value), call: put(K0, NOBODY) },
      { name: "guest reads k2", call: range({ key: bytesFromLatin1("k2") }) },
      { name: "guest reads all", call: range(ALL_KEYS) },
      {
        name: "guest compares k2",
        write: writing("k0", value),
        call: comparing(value, guest),
      },
      { name: "guest deletes k1", write: writing("k1", undefined), call: deleting(guest) },
      { name: "guest adds a user", call: addingUser(guest) },
      {
        name: `guest removes ${member.name}`,
        call: (server, _context, done) => server.memberRemove(member.id, guest, done),
      },
      {
        name: "guest watches k2",
        call: (server, _context, done) =>
          server.watchPermit({ key: bytesFromLatin1("k2"), rangeEnd: NO_BYTES }, guest, done),
      },
    ];
    if (this.#operator.mayReadK1 === false) {
      attempts.push({ name: "guest reads k1", call: range({ key: K1 }) });
    }
    // These are judged by what a member has applied, which may be long ago.
    return this.#isAtRest(member) ? attempts : attempts.filter(({ name }) => !isLocal(name));
  }

  #isAtRest(member: SimMember): boolean {
    return this.#workload.isOver && member.server !== undefined;
  }
}

function writing(key: string, value: string | undefined): Write {
  return { key, value, lease: 0n };
}

function isLocal(name: string): boolean {
  return name.startsWith("guest watches") || name.startsWith("guest removes");
}

function contextOf(auth: AuthClaim | undefined): RequestContext {
  return { auth, deadlineMs: undefined };
}

const GUEST = contextOf({ kind: "certificate", commonName: "guest" });
const STRANGER = contextOf({ kind: "certificate", commonName: "stranger" });
const NOBODY = contextOf(undefined);

/** Writes `k0`, which it may, if `k2` is not there, which it may not know. */
function comparing(value: string, as: RequestContext): Call<unknown> {
  const put = PutRequestCodec.create({ key: K0, value: bytesFromLatin1(value) });
  const compare = {
    result: CompareResult.EQUAL,
    target: CompareTarget.MOD,
    key: bytesFromLatin1("k2"),
    rangeEnd: NO_BYTES,
    value: { kind: "modRevision", modRevision: 0 },
  } as const;
  const op = { kind: "put", put } as const;
  const request = { compare: [compare], success: [op], failure: [op] };
  return (server, _context, done) => server.txn(request, as, done);
}

function deleting(as: RequestContext): Call<unknown> {
  const request = DeleteRangeRequestCodec.create({ key: K1 });
  return (server, _context, done) => server.deleteRange(request, as, done);
}

function addingUser(as: RequestContext): Call<unknown> {
  return (server, _context, done) => server.authCall(userAdd("accomplice"), as, done);
}
