import { expect, test } from "vitest";

import { SERVER_ERRORS } from "@etcd-ts/api";

import { PendingRequests } from "./pending-requests.ts";
import { ProposalQueue } from "./proposal-queue.ts";
import { RequestIDs } from "./request-id.ts";

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

test("ProposalQueue keeps the order, and drops only what nobody waits for any more", () => {
  const handed: string[] = [];
  const dropped: bigint[] = [];
  const isGone = new Set([2n]);
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
    (id) => !isGone.has(id),
    (id) => dropped.push(id),
  );
  const change = { type: "ConfChangeRemoveNode", nodeID: 1n, context: new Uint8Array(0) } as const;
  for (const id of [1n, 2n, 3n]) queue.add(id, Uint8Array.of(Number(id)));
  queue.add(4n, { ...change, id: 4n });
  queue.add(5n, Uint8Array.of(5));
  queue.wait();
  queue.flush();
  expect(handed).toEqual(["batch 1,3", "change 4", "batch 5"]);
  answer = "dropped";
  queue.add(6n, Uint8Array.of(6));
  queue.add(7n, Uint8Array.of(7));
  queue.flush();
  queue.flush();
  expect(dropped).toEqual([6n, 7n]);
});

test("RequestIDs tells members and starts apart", () => {
  const first = new RequestIDs(0x1234_5678n, 1_700_000_000_000);
  const id = first.next();
  expect(id >> 48n).toBe(0x5678n);
  expect(first.next()).toBe(id + 1n);
  const later = new RequestIDs(0x1234_5678n, 1_700_000_000_001);
  expect(later.next()).toBe(id + 256n);
});
