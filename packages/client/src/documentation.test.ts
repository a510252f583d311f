/** Runs the examples of docs/client.md. */

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startEtcd } from "@etcd-ts/embed";
import type { Etcd } from "@etcd-ts/embed";
import * as library from "./index.ts";

let etcd: Etcd;

beforeAll(async () => {
  etcd = await startEtcd();
});

afterAll(() => etcd.stop());

const page = readFileSync(new URL("../../../docs/client.md", import.meta.url), "utf8");
const examples = [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]!);

test("docs/client.md has examples", () => {
  expect(examples.length).toBeGreaterThan(4);
});

test.each(examples)("example %#", async (example) => {
  const printed: string[] = [];
  const body = example
    .replace(/^import .*$/gm, "")
    .replaceAll("127.0.0.1:2379", etcd.addresses[0]!);
  const scope = {
    ...library,
    TextDecoder,
    console: { log: (...words: unknown[]) => printed.push(words.join(" ")) },
  };
  const names = Object.keys(scope);
  // oxlint-disable-next-line typescript/no-implied-eval, no-new-func -- the page is the program here
  const run = new Function(...names, `return (async () => {${body}})();`) as (
    ...values: unknown[]
  ) => Promise<void>;
  await run(...Object.values(scope));
  expect(printed.length).toBe(example.match(/console\.log/g)?.length ?? 0);
});
