import { expect, test } from "vitest";

import { PutRequestCodec, SERVER_ERRORS } from "@etcd-ts/api";
import { SeededRandom } from "@etcd-ts/base";
import fc from "fast-check";

import type { ApplyResult } from "./apply/request-applier.ts";
import { PendingProposal, PendingProposals } from "./pending-proposals.ts";
import { PendingRequests } from "./pending-requests.ts";
import { ProposalQueue } from "./proposal-queue.ts";
import { RequestIDs } from "./request-id.ts";
import type { Completion } from "./server-api.ts";

test("PendingRequests settles each request once, and expires the oldest first", () => {
  const pending = new PendingRequests<string>(100);
  const outcomes: string[] = [];
  for (const [id, nowMs] of [
    [1n, 0],
    [2n, 50],
    [3n, 60],
  ] as const) {
    pending.add(id, nowMs, (failure, result) => {
      outcomes.push(`${id}: ${failure?.message ?? result}`);
    });
  }
  pending.succeed(2n, "done");
  pending.succeed(2n, "again");
  expect(pending.expire(100, () => SERVER_ERRORS.timeout)).toBe(1);
  pending.failAll(SERVER_ERRORS.stopped);
  expect(outcomes).toEqual([
    "2: done",
    `1: ${SERVER_ERRORS.timeout.message}`,
    `3: ${SERVER_ERRORS.stopped.message}`,
  ]);
  expect(pending.size).toBe(0);
});

const REQUEST = PutRequestCodec.create({ key: Uint8Array.of(1) });

function proposal(
  count: number,
  startMs = 0,
  done: Completion<ApplyResult> = () => undefined,
): PendingProposal {
  const data = Uint8Array.of(count % 256);
  return new PendingProposal(
    count,
    data,
    { kind: "put", request: REQUEST },
    undefined,
    startMs,
    done,
  );
}

const DONE: ApplyResult = { error: undefined, response: undefined };

test("PendingProposals finds each by its bytes while it is first, and by its id always", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("add", "skip", "first", "some", "gone"), { maxLength: 200 }),
      fc.constantFrom(0, 2 ** 40 - 1),
      fc.nat(),
      (steps, wallMs, seed) => {
        const ids = new RequestIDs(0xabcdn, wallMs);
        let failed = 0;
        const pending = new PendingProposals(1e6, ids, () => failed++);
        const random = new SeededRandom(seed);
        let waiting: PendingProposal[] = [];
        const settled: PendingProposal[] = [];
        const settle = (one: PendingProposal): void => {
          pending.succeed(one, DONE);
          pending.fail(one, SERVER_ERRORS.timeout);
          waiting = waiting.filter((other) => other !== one);
          settled.push(one);
        };
        const idOf = ({ count }: PendingProposal): bigint =>
          (BigInt(ids.highOf(count)) << 32n) | BigInt(ids.lowOf(count));
        // The counts run over their 48 bits in the middle of some runs.
        for (let i = 0; i < 200; i++) ids.nextCount();
        for (const step of steps) {
          const some = waiting[Math.floor(random.float() * waiting.length)];
          if (step === "skip") ids.nextCount();
          else if (step === "add") {
            const one = proposal(ids.nextCount());
            pending.add(one);
            waiting.push(one);
          } else if (step === "first" && waiting[0] !== undefined) {
            expect(pending.firstIf(waiting[0].data)).toBe(waiting[0]);
            settle(waiting[0]);
          } else if (step === "some" && some !== undefined) settle(some);
          else if (step === "gone" && settled.length > 0) {
            expect(pending.find(idOf(settled.at(-1)!))).toBeUndefined();
          }
          expect(pending.size).toBe(waiting.length);
          for (const one of waiting) expect(pending.find(idOf(one))).toBe(one);
          if (waiting[1] !== undefined) expect(pending.firstIf(waiting[1].data)).toBeUndefined();
        }
        expect(pending.find(1n << 48n)).toBeUndefined();
        expect(failed).toBe(0);
      },
    ),
  );
});

test("PendingProposals settles each proposal once, and expires the oldest first", () => {
  const outcomes: string[] = [];
  let failed = 0;
  const ids = new RequestIDs(1n, 0);
  const pending = new PendingProposals(100, ids, () => failed++);
  const all = [0, 50, 60].map((startMs, i) => {
    const one = proposal(ids.nextCount(), startMs, (error, result) => {
      outcomes.push(`${i}: ${error?.message ?? String(result === DONE)}`);
    });
    pending.add(one);
    return one;
  });
  pending.succeed(all[1]!, DONE);
  pending.succeed(all[1]!, DONE);
  pending.expire(100, () => SERVER_ERRORS.timeout);
  pending.failAll(SERVER_ERRORS.stopped);
  expect(outcomes).toEqual([
    "1: true",
    `0: ${SERVER_ERRORS.timeout.message}`,
    `2: ${SERVER_ERRORS.stopped.message}`,
  ]);
  expect([pending.size, failed]).toEqual([0, 2]);
});

test("ProposalQueue keeps the order, and drops only what nobody waits for any more", () => {
  const handed: string[] = [];
  const dropped: number[] = [];
  let answer: "ok" | "dropped" = "ok";
  const queue = new ProposalQueue(
    {
      proposeBatch: (batch) => {
        handed.push(`batch ${batch.map(([byte]) => byte).join()}`);
        return answer;
      },
      proposeConfChange: ({ id }) => {
        handed.push(`change ${id}`);
        return answer;
      },
    },
    ({ id }) => id !== 5n,
    (queued) => dropped.push(queued instanceof PendingProposal ? queued.count : Number(queued.id)),
  );
  const change = { type: "ConfChangeRemoveNode", nodeID: 1n, context: new Uint8Array(0) } as const;
  const writes = [1, 2, 3].map((count) => proposal(count));
  for (const write of writes) queue.add(write);
  for (const id of [4n, 5n]) queue.add({ ...change, id });
  queue.add(proposal(6));
  queue.wait();
  writes[1]!.isSettled = true;
  queue.flush();
  expect(handed).toEqual(["batch 1,3", "change 4", "batch 6"]);
  answer = "dropped";
  queue.add(proposal(7));
  queue.add(proposal(8));
  queue.add({ ...change, id: 9n });
  queue.flush();
  queue.flush();
  expect(dropped).toEqual([7, 8, 9]);
});

test("RequestIDs tells members and starts apart", () => {
  const first = new RequestIDs(0x1234_5678n, 1_700_000_000_000);
  const id = first.next();
  expect(id >> 48n).toBe(0x5678n);
  expect(first.next()).toBe(id + 1n);
  const later = new RequestIDs(0x1234_5678n, 1_700_000_000_001);
  expect(later.next()).toBe(id + 256n);
  const count = later.nextCount();
  const halves = (BigInt(later.highOf(count)) << 32n) | BigInt(later.lowOf(count));
  expect(halves).toBe(id + 257n);
  expect(later.countOf(halves)).toBe(count);
  expect(later.countOf(halves ^ (1n << 60n))).toBeUndefined();
});
