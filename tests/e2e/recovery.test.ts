/** Every block of docs/recovery.md that is marked to be run, run as it stands. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { missingLine, sectionsOf } from "../recovery/runbook.ts";
import { ALL_OURS, playScenario, SCENARIOS } from "../recovery/scenarios.ts";
import { Turns } from "../recovery/turns.ts";

const file = new URL("../../docs/recovery.md", import.meta.url);
const sections = sectionsOf(readFileSync(file, "utf8"));
const turns = new Turns(3);

test("each section with something to run has a scenario, and each scenario a section", () => {
  expect(sections.map(({ title }) => title).sort()).toEqual(Object.keys(SCENARIOS).sort());
});

test("missingLine() wants the lines in order, and nothing but what … stands for", () => {
  const output = "one 1\n  two 22  \nthree";
  expect(missingLine(output, ["one …", "two 22", "three"])).toBeUndefined();
  expect(missingLine(output, ["three", "one …"])).toBe("one …");
  expect(missingLine(output, ["two"])).toBe("two");
  expect(missingLine(output, ["two 2"])).toBe("two 2");
});

test.concurrent.each(sections)("recovery.md: $title", { timeout: 400_000 }, async (section) => {
  await turns.take(() => playScenario(section, ALL_OURS));
});

// What the runbook says of TLS: https, and three variables for etcdctl.
test.concurrent.each(sections.filter(({ title }) => title === "Restore three members"))(
  "recovery.md, with TLS: $title",
  { timeout: 400_000 },
  async (section) => {
    await turns.take(() => playScenario(section, ALL_OURS, true));
  },
);
