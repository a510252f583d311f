/**
 * docs/recovery.md with the reference's programs, and with both mixed: what one server wrote and one
 * `etcdctl` saved is restored by the other's `etcdutl`, and started by either.
 */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { sectionsOf } from "../../recovery/runbook.ts";
import { playScenario } from "../../recovery/scenarios.ts";
import type { Cast } from "../../recovery/scenarios.ts";
import { allOf } from "../../recovery/site.ts";
import { Turns } from "../../recovery/turns.ts";

const file = new URL("../../../docs/recovery.md", import.meta.url);
const sections = sectionsOf(readFileSync(file, "utf8"));
const turns = new Turns(3);

const [OURS, REFERENCE] = [allOf("ours"), allOf("reference")];
const CASTS: { readonly [name: string]: Cast } = {
  "all by the reference": { before: REFERENCE, after: REFERENCE, next: "reference" },
  "the reference's, restored by ours, started by the reference": {
    before: REFERENCE,
    after: { ...REFERENCE, etcdutl: "ours" },
    next: "reference",
  },
  "ours, restored by the reference, started by ours": {
    before: OURS,
    after: { ...OURS, etcdutl: "reference" },
    next: "ours",
  },
  "from the reference to ours": { before: REFERENCE, after: OURS, next: "ours" },
  "from ours to the reference": { before: OURS, after: REFERENCE, next: "reference" },
};

/** In which an etcdutl restores: all casts. */
const RESTORES = [
  "Restore one member",
  "Restore three members",
  "Kubernetes: etcd as a static pod",
];
/** In which another server goes on: from one to the other. */
const SWAPS = [
  "Go on with a survivor",
  "Start from a copied data directory",
  "Upgrade, downgrade, swap",
];

const cases = Object.entries(CASTS).flatMap(([name, cast]) => {
  const titles = name.startsWith("from") ? [...RESTORES, ...SWAPS] : RESTORES;
  return titles.map((title) => ({ title, name, cast }));
});

test.concurrent.each(cases)("$title: $name", { timeout: 600_000 }, async ({ title, cast }) => {
  const section = sections.find((one) => one.title === title);
  expect(section).toBeDefined();
  await turns.take(() => playScenario(section!, cast));
});
