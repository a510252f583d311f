/** The page that says which test watches for which weakness names tests that are there. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/security.md"), "utf8");
const rows = [...page.matchAll(/^\| ([^|]+) \| [^|]+ \| `([^`]+)`: ([^|]+) \|$/gm)].map(
  ([, advisory, file, name]) => ({ advisory: advisory!, file: file!, name: name! }),
);

test("the page lists advisories", () => {
  expect(rows.length).toBeGreaterThan(20);
});

test.each(rows)("$advisory has a test in $file", ({ file, name }) => {
  const text = readFileSync(join(root, file), "utf8");
  const code = text.replace(/^\s*(\/\/|\*).*$/gm, "");
  if (file.endsWith(".go")) expect(code).toContain(`func ${name}(t *testing.T)`);
  else
    expect(code).toMatch(new RegExp(`["'\`][^\\n]*${name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`));
});
