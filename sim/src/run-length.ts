/** When a run of many seeds has had enough. */

export interface RunGoal {
  /** Infinity: only the time decides. */
  readonly seeds: number;
  /** Virtual hours. */
  readonly hours: number;
}

/** Both must be reached. */
export function isEnough(goal: RunGoal, seeds: number, hours: number): boolean {
  return seeds >= goal.seeds && hours >= goal.hours;
}
