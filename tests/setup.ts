/**
 * One seed for all properties, so that a run says something about the change and not about luck.
 * `ETCD_TS_SEED=N` chooses another, `ETCD_TS_SEED=random` a new one each time; a failure prints it.
 */

import fc from "fast-check";

const DEFAULT_SEED = 20_261_122;
const chosen = process.env["ETCD_TS_SEED"];

if (chosen !== "random") {
  fc.configureGlobal({ seed: chosen === undefined ? DEFAULT_SEED : Number(chosen) });
}
