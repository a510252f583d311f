/**
 * Transcripts of configuration changes: `simple`, `enter-joint [autoleave=true]` and
 * `leave-joint`, each with changes in short form as input, on a configuration that begins empty.
 */

import type { ChangeContext, Membership } from "../confchange/changer.ts";
import { changeSimple, ConfChangeError, enterJoint, leaveJoint } from "../confchange/changer.ts";
import { confChangesFromString } from "../raftpb/conf-change.ts";
import type { ConfChangeSingle } from "../raftpb/types.ts";
import { Inflights } from "../tracker/inflights.ts";
import { describeProgressMap } from "../tracker/progress.ts";
import { describeConfiguration, ProgressTracker } from "../tracker/tracker.ts";
import type { Block } from "./datadriven.ts";
import { parseBoolean } from "./datadriven.ts";

const INFLIGHT_MESSAGES_MAX = 10;

export class ConfChangeTranscript {
  readonly #tracker = new ProgressTracker(INFLIGHT_MESSAGES_MAX, 0);
  /** One more with each command, so that one can see when a member came. */
  #lastIndex = 0;

  answer(block: Block): string {
    const changes = confChangesFromString(block.input);
    const context: ChangeContext = {
      lastIndex: this.#lastIndex++,
      newInflights: () => new Inflights(INFLIGHT_MESSAGES_MAX, 0),
    };
    if (typeof changes === "string") return changes;
    try {
      const membership = this.#change(block, context, changes);
      if (membership === undefined) return "unknown command";
      this.#tracker.switchTo(membership.configuration, membership.progress);
    } catch (error) {
      if (error instanceof ConfChangeError) return `${error.message}\n`;
      throw error;
    }
    return (
      `${describeConfiguration(this.#tracker.configuration)}\n` +
      describeProgressMap(this.#tracker.progress)
    );
  }

  #change(
    block: Block,
    context: ChangeContext,
    changes: readonly ConfChangeSingle[],
  ): Membership | undefined {
    switch (block.command) {
      case "simple":
        return changeSimple(this.#tracker, context, changes);
      case "enter-joint": {
        const argument = block.arguments.find(({ key }) => key === "autoleave");
        const autoLeave = argument !== undefined && parseBoolean(argument.values[0] ?? "");
        return enterJoint(this.#tracker, context, autoLeave, changes);
      }
      case "leave-joint":
        if (changes.length > 0) throw new ConfChangeError("this command takes no input");
        return leaveJoint(this.#tracker, context);
      default:
        return undefined;
    }
  }
}
