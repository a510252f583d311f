/**
 * Decisions by the majority of a set of voters.
 *
 * Invariants:
 * - The empty set agrees to everything: it is the absent half of a joint configuration.
 */

export type VoterSet = ReadonlySet<bigint>;

/** What a voter has acknowledged; undefined if nothing is known of it. */
export type AckedIndex = (id: bigint) => number | undefined;

export type VoteResult = "VotePending" | "VoteLost" | "VoteWon";

export const EMPTY_VOTERS: VoterSet = new Set<bigint>();

/** Voters in ascending order. */
export function sortedIDs(ids: Iterable<bigint>): bigint[] {
  return [...ids].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** The highest index a majority has acknowledged; infinite for the empty set. */
export function majorityCommittedIndex(voters: VoterSet, acked: AckedIndex): number {
  const count = voters.size;
  if (count === 0) return Number.POSITIVE_INFINITY;
  // Insertion sort, descending: sets are small, and this runs for every acknowledgement.
  const indexes: number[] = [];
  for (const id of voters) {
    const index = acked(id) ?? 0;
    let position = indexes.length;
    indexes.push(index);
    while (position > 0 && indexes[position - 1]! < index) {
      indexes[position] = indexes[position - 1]!;
      position--;
    }
    indexes[position] = index;
  }
  return indexes[count >> 1]!;
}

/** Whether an election is decided by the votes cast so far (true: for, false: against). */
export function majorityVoteResult(
  voters: VoterSet,
  votes: ReadonlyMap<bigint, boolean>,
): VoteResult {
  if (voters.size === 0) return "VoteWon";
  let granted = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = votes.get(id);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const needed = (voters.size >> 1) + 1;
  if (granted >= needed) return "VoteWon";
  return granted + missing >= needed ? "VotePending" : "VoteLost";
}

/** `(1 2 3)`. */
export function describeVoters(voters: VoterSet): string {
  return `(${sortedIDs(voters).join(" ")})`;
}

/** A bar for each voter that shows how many others lie behind it. */
export function describeAcked(voters: VoterSet, acked: AckedIndex): string {
  const count = voters.size;
  if (count === 0) return "<empty majority quorum>";
  const ids = sortedIDs(voters);
  const indexOf = (id: bigint): number => acked(id) ?? 0;
  const lines = [`${" ".repeat(count)}    idx\n`];
  for (const id of ids) {
    const index = indexOf(id);
    const behind = ids.filter((other) => indexOf(other) < index).length;
    const bar =
      acked(id) === undefined
        ? `?${" ".repeat(count)}`
        : `${"x".repeat(behind)}>${" ".repeat(count - behind)}`;
    lines.push(`${bar} ${describeIndex(index).padStart(5)}    (id=${id})\n`);
  }
  return lines.join("");
}

/** An index, or `∞` for what the empty set agrees to. */
export function describeIndex(index: number): string {
  return index === Number.POSITIVE_INFINITY ? "∞" : String(index);
}
