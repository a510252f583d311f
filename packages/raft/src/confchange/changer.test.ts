/** Whatever changes are asked for, the rules hold. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isJoint } from "../quorum/joint.ts";
import type { ConfChangeSingle } from "../raftpb/types.ts";
import { CONF_CHANGE_TYPES, EMPTY_CONF_STATE } from "../raftpb/types.ts";
import { Inflights } from "../tracker/inflights.ts";
import { confStateOf, EMPTY_CONFIGURATION } from "../tracker/tracker.ts";
import type { ChangeContext, Membership } from "./changer.ts";
import {
  changeSimple,
  checkMembership,
  ConfChangeError,
  enterJoint,
  leaveJoint,
} from "./changer.ts";
import { checkConfStatesEquivalent, restoreMembership } from "./restore.ts";

const context: ChangeContext = { lastIndex: 7, newInflights: () => new Inflights(4, 0) };
const EMPTY: Membership = { configuration: EMPTY_CONFIGURATION, progress: new Map() };

const change: fc.Arbitrary<ConfChangeSingle> = fc.record({
  type: fc.constantFrom(...CONF_CHANGE_TYPES),
  nodeID: fc.bigInt({ min: 0n, max: 6n }),
});
const changes = fc.array(change, { maxLength: 4 });
const step = fc.record({
  kind: fc.constantFrom("simple", "enter", "leave"),
  changes,
  autoLeave: fc.boolean(),
});

function tryStep(base: Membership, action: () => Membership): Membership {
  try {
    return action();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfChangeError);
    return base;
  }
}

const membership = fc.array(step, { maxLength: 12 }).map((steps) => {
  let current = changeSimple(EMPTY, context, [{ type: "ConfChangeAddNode", nodeID: 1n }]);
  for (const one of steps) {
    const base = current;
    current = tryStep(base, () => {
      if (one.kind === "simple") return changeSimple(base, context, one.changes);
      if (one.kind === "enter") return enterJoint(base, context, one.autoLeave, one.changes);
      return leaveJoint(base, context);
    });
  }
  return current;
});

describe("configuration changes", () => {
  test("every reachable membership keeps the rules and has voters", () => {
    fc.assert(
      fc.property(membership, (reached) => {
        checkMembership(reached);
        const { voters, learners } = reached.configuration;
        expect(voters.incoming.size).toBeGreaterThan(0);
        expect(new Set(reached.progress.keys())).toEqual(
          new Set([...voters.incoming, ...voters.outgoing, ...learners]),
        );
      }),
    );
  });

  test("restoreMembership() finds the way back to every reachable configuration", () => {
    fc.assert(
      fc.property(membership, (reached) => {
        const state = confStateOf(reached.configuration);
        const restored = restoreMembership(context, state);
        expect(confStateOf(restored.configuration)).toEqual(state);
        expect(new Set(restored.progress.keys())).toEqual(new Set(reached.progress.keys()));
      }),
    );
  });

  test("changeSimple() changes at most one voter", () => {
    fc.assert(
      fc.property(membership, changes, (base, wanted) => {
        const next = tryStep(base, () => changeSimple(base, context, wanted));
        const before = base.configuration.voters.incoming;
        const after = next.configuration.voters.incoming;
        const differing = [...before, ...after].filter((id) => before.has(id) !== after.has(id));
        expect(differing.length).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("leaveJoint() after enterJoint() gives what the changes ask for", () => {
    fc.assert(
      fc.property(membership, changes, (base, wanted) => {
        fc.pre(!isJoint(base.configuration.voters));
        const joint = tryStep(base, () => enterJoint(base, context, false, wanted));
        fc.pre(joint !== base);
        expect(joint.configuration.voters.outgoing).toEqual(base.configuration.voters.incoming);
        const left = leaveJoint(joint, context);
        for (const id of [1n, 2n, 3n, 4n, 5n, 6n]) {
          const last = wanted.findLast(
            (one) => one.nodeID === id && one.type !== "ConfChangeUpdateNode",
          );
          if (last === undefined) continue;
          const { voters, learners } = left.configuration;
          expect(voters.incoming.has(id)).toBe(last.type === "ConfChangeAddNode");
          expect(learners.has(id)).toBe(last.type === "ConfChangeAddLearnerNode");
        }
      }),
    );
  });

  test("a step that is refused leaves everything as it was", () => {
    const base = changeSimple(EMPTY, context, [{ type: "ConfChangeAddNode", nodeID: 1n }]);
    const text = JSON.stringify([...base.configuration.voters.incoming].map(String));
    expect(() =>
      changeSimple(base, context, [{ type: "ConfChangeRemoveNode", nodeID: 1n }]),
    ).toThrow("removed all voters");
    expect(JSON.stringify([...base.configuration.voters.incoming].map(String))).toBe(text);
  });

  test("a member removed and added again comes back as a new one", () => {
    const base = changeSimple(EMPTY, context, [{ type: "ConfChangeAddNode", nodeID: 1n }]);
    const two = changeSimple(base, context, [{ type: "ConfChangeAddNode", nodeID: 2n }]);
    two.progress.get(2n)!.maybeUpdate(20);
    const again = changeSimple(two, context, [
      { type: "ConfChangeRemoveNode", nodeID: 2n },
      { type: "ConfChangeAddNode", nodeID: 2n },
    ]);
    expect(again.progress.get(2n)!.match).toBe(0);
    expect(again.progress.get(1n)).toBe(two.progress.get(1n));
  });

  test("checkConfStatesEquivalent() ignores order alone", () => {
    const state = { ...EMPTY_CONF_STATE, voters: [1n, 2n], learners: [3n] };
    checkConfStatesEquivalent(state, { ...state, voters: [2n, 1n] });
    expect(() => checkConfStatesEquivalent(state, { ...state, learners: [] })).toThrow(
      "ConfStates not equivalent after sorting",
    );
  });
});
