/** Quorum decisions against a count by hand. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hasVoter, jointCommittedIndex, jointVoteResult } from "./joint.ts";
import { EMPTY_VOTERS, majorityCommittedIndex, majorityVoteResult } from "./majority.ts";

const voter = fc.bigInt({ min: 1n, max: 9n });
const voters = fc.uniqueArray(voter, { maxLength: 9 }).map((ids) => new Set(ids));
const acks = fc
  .uniqueArray(fc.tuple(voter, fc.nat(20)), { selector: ([id]) => id })
  .map((pairs) => new Map(pairs));
const ballots = fc
  .uniqueArray(fc.tuple(voter, fc.boolean()), { selector: ([id]) => id })
  .map((pairs) => new Map(pairs));

function countAtLeast(
  group: ReadonlySet<bigint>,
  acked: ReadonlyMap<bigint, number>,
  index: number,
): number {
  return [...group].filter((id) => (acked.get(id) ?? 0) >= index).length;
}

describe("majorityCommittedIndex()", () => {
  test("is the highest index that more than half have acknowledged", () => {
    fc.assert(
      fc.property(voters, acks, (group, acked) => {
        const index = majorityCommittedIndex(group, (id) => acked.get(id));
        if (group.size === 0) {
          expect(index).toBe(Number.POSITIVE_INFINITY);
          return;
        }
        expect(countAtLeast(group, acked, index) * 2).toBeGreaterThan(group.size);
        expect(countAtLeast(group, acked, index + 1) * 2).toBeLessThanOrEqual(group.size);
      }),
    );
  });

  test("never falls when a voter acknowledges more", () => {
    fc.assert(
      fc.property(voters, acks, voter, fc.nat(30), (group, acked, id, index) => {
        const before = majorityCommittedIndex(group, (one) => acked.get(one));
        const more = new Map(acked).set(id, Math.max(index, acked.get(id) ?? 0));
        expect(majorityCommittedIndex(group, (one) => more.get(one))).toBeGreaterThanOrEqual(
          before,
        );
      }),
    );
  });
});

describe("majorityVoteResult()", () => {
  test("is decided exactly when no further vote can change it", () => {
    fc.assert(
      fc.property(voters, ballots, (group, votes) => {
        const won = (open: boolean): boolean => {
          const granted = [...group].filter((id) => votes.get(id) ?? open).length;
          return group.size === 0 || granted * 2 > group.size;
        };
        const result = majorityVoteResult(group, votes);
        if (won(true) && won(false)) expect(result).toBe("VoteWon");
        else if (won(true)) expect(result).toBe("VotePending");
        else expect(result).toBe("VoteLost");
      }),
    );
  });
});

describe("joint decisions", () => {
  test("jointCommittedIndex() is acknowledged by both halves", () => {
    fc.assert(
      fc.property(voters, voters, acks, (incoming, outgoing, acked) => {
        const ack = (id: bigint): number | undefined => acked.get(id);
        const index = jointCommittedIndex({ incoming, outgoing }, ack);
        expect(index).toBe(jointCommittedIndex({ incoming: outgoing, outgoing: incoming }, ack));
        expect(index).toBe(
          Math.min(majorityCommittedIndex(incoming, ack), majorityCommittedIndex(outgoing, ack)),
        );
        expect(jointCommittedIndex({ incoming, outgoing: incoming }, ack)).toBe(
          majorityCommittedIndex(incoming, ack),
        );
      }),
    );
  });

  test("jointVoteResult() is won if both halves are, lost if one is", () => {
    fc.assert(
      fc.property(voters, voters, ballots, (incoming, outgoing, votes) => {
        const halves = new Set([incoming, outgoing].map((half) => majorityVoteResult(half, votes)));
        const expected = halves.has("VoteLost")
          ? "VoteLost"
          : halves.has("VotePending")
            ? "VotePending"
            : "VoteWon";
        expect(jointVoteResult({ incoming, outgoing }, votes)).toBe(expected);
      }),
    );
  });

  test("hasVoter() knows both halves", () => {
    const halves = { incoming: new Set([1n]), outgoing: new Set([2n]) };
    expect([1n, 2n, 3n].map((id) => hasVoter(halves, id))).toEqual([true, true, false]);
    expect(hasVoter({ incoming: EMPTY_VOTERS, outgoing: EMPTY_VOTERS }, 1n)).toBe(false);
  });
});
