/**
 * What a long run must have had: each class of faults with the counter that tells it struck. A
 * counter tells the effect where there is one: bytes that were lost, not a disk that might have
 * lost some.
 */

/** The seeds from which on a class that never struck is a failure of the run. */
export const LONG_RUN_SEEDS = 100;

/** Counter by class; the order is the one they are told in. */
export const FAULT_CLASSES: ReadonlyMap<string, string> = new Map([
  ["crash: power loss", "fault: power loss"],
  ["crash: power loss within a write", "power went off within an operation"],
  ["crash: process killed", "fault: kill"],
  ["disk: unsynced writes lost", "unsynced sectors or pages lost"],
  ["disk: torn sectors", "files torn at a sector"],
  ["disk: torn pages", "files torn at a page"],
  ["disk: slow", "fault: slow disk"],
  ["disk: full", "writes refused by a full disk"],
  ["disk: failed sync", "syncs failed"],
  ["disk: bit rot at rest", "bits flipped"],
  ["network: loss", "messages lost"],
  ["network: delay", "messages late"],
  ["network: reorder", "messages overtaken"],
  ["network: duplication", "messages doubled"],
  ["network: full partition", "fault: partition"],
  ["network: one-way partition", "fault: one-way partition"],
  ["network: partial partition", "fault: cut link"],
  ["network: isolated leader", "fault: isolated leader"],
  ["network: messages cut off", "messages cut off"],
  ["clock: jump", "fault: clock jump"],
  ["clock: drift", "lives with a drifting clock"],
  ["process: pause", "fault: pause"],
  ["process: leader paused", "leaders paused"],
  ["process: calls to a paused member", "calls to a paused member"],
  ["operator: member removed", "members removed"],
  ["operator: learner added", "learners added"],
  ["operator: voter added", "voters added"],
  ["operator: learner promoted", "learners promoted"],
  ["operator: lost member replaced", "lost members replaced"],
  ["operator: leader transfer", "leadership transferred"],
  ["operator: compaction", "compactions"],
  ["operator: defragmentation", "defragmentations"],
  ["catch-up by snapshot", "snapshots sent"],
  ["users: calls without a right", "calls without a right refused"],
  ["users: logins", "logins"],
  ["users: wrong passwords", "logins refused"],
  ["users: tokens without a right", "tokens refused"],
  ["users: tokens that ran out", "tokens that ran out"],
  ["operator: password changed", "passwords changed"],
  ["operator: authentication turned off", "authentication turned off"],
  ["operator: downgrade begun", "downgrades begun"],
  ["operator: downgrade canceled", "downgrades canceled"],
  ["operator: cluster version lowered", "cluster versions lowered"],
  ["cluster of one", "clusters of 1"],
  ["cluster of three", "clusters of 3"],
  ["cluster of five", "clusters of 5"],
]);

/** The classes that never struck. */
export function missingClasses(counts: ReadonlyMap<string, number>): string[] {
  return [...FAULT_CLASSES]
    .filter(([, counter]) => (counts.get(counter) ?? 0) === 0)
    .map(([name]) => name);
}
