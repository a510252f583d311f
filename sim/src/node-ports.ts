/** What a run needs of Node: a way to let promises settle. */

import type { SimulatorPorts } from "./cluster.ts";

/** Steps a round of Node's event loop: a round costs as much as several steps. */
const STEPS_A_ROUND = 64;

/**
 * Runs `step` until it says that it was the last. Node lets all promises settle between two
 * immediates, also between those of one round.
 */
function pump(step: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    const once = (): void => {
      if (isOver) return;
      try {
        isOver = !step();
        if (isOver) resolve();
      } catch (error) {
        isOver = true;
        reject(error as Error);
      }
    };
    const round = (): void => {
      once();
      if (isOver) return;
      for (let i = 1; i < STEPS_A_ROUND; i++) setImmediate(once);
      setImmediate(round);
    };
    setImmediate(round);
  });
}

export const NODE_PORTS: SimulatorPorts = { pump };
