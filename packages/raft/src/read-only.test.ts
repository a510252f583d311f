/** Reads are confirmed by quorum, in order, each once. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EMPTY_VOTERS } from "./quorum/majority.ts";
import { newMessage } from "./raftpb/types.ts";
import { ReadQueue } from "./read-only.ts";

const voters = { incoming: new Set([1n, 2n, 3n]), outgoing: EMPTY_VOTERS };

function addRead(queue: ReadQueue, index: number): void {
  queue.add({ request: newMessage({ type: "MsgReadIndex" }), index });
  queue.acknowledge(1n, queue.last);
}

describe("ReadQueue", () => {
  test("a later round confirms the reads of earlier ones", () => {
    const queue = new ReadQueue();
    addRead(queue, 5);
    addRead(queue, 6);
    const context = queue.heartbeatContext();
    addRead(queue, 7);
    queue.acknowledgeContext(3n, context);
    expect(queue.takeConfirmed(voters).map(({ index }) => index)).toEqual([5, 6]);
    expect(queue.takeConfirmed(voters)).toEqual([]);
    queue.acknowledgeContext(2n, queue.heartbeatContext());
    expect(queue.takeConfirmed(voters).map(({ index }) => index)).toEqual([7]);
    expect(queue.heartbeatContext().length).toBe(0);
  });

  test("contexts nobody sent confirm nothing", () => {
    const queue = new ReadQueue();
    addRead(queue, 5);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (context) => {
        fc.pre(context.length !== 8 || context[0] !== 1);
        queue.acknowledgeContext(2n, context);
        expect(queue.takeConfirmed(voters)).toEqual([]);
      }),
    );
  });

  test("takeConfirmed() needs both halves of a joint configuration", () => {
    const queue = new ReadQueue();
    const joint = { incoming: new Set([1n, 2n]), outgoing: new Set([3n]) };
    addRead(queue, 5);
    queue.acknowledge(2n, 1);
    expect(queue.takeConfirmed(joint)).toEqual([]);
    queue.acknowledge(3n, 1);
    expect(queue.takeConfirmed(joint).length).toBe(1);
  });
});
