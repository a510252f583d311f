/**
 * The tools of both with the same bad files and endpoints: equal exit codes and, where both say the
 * same of it, equal errors.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { Client } from "@etcd-ts/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../processes/free-ports.ts";
import { BadEndpoints, BOUNDED, damagesOf, ENDPOINT_COMMANDS } from "../../recovery/bad-input.ts";
import type { Damage } from "../../recovery/bad-input.ts";
import { errorOf, runTool, Scratch, startServer } from "../../recovery/tools.ts";
import type { Ended, Program, Server, Tool } from "../../recovery/tools.ts";
import { Turns } from "../../recovery/turns.ts";

const scratch = new Scratch();
const turns = new Turns(3);
const bad = new BadEndpoints();
let server: Server;
let damages: { readonly [name: string]: Damage };

beforeAll(async () => {
  server = await startServer("reference", join(scratch.directory(), "data"));
  const client = new Client({ endpoints: [server.endpoint] });
  for (let i = 0; i < 100; i++) await client.kv.put(`key ${i}`, `value ${i}`);
  for (let i = 0; i < 40; i++) await client.kv.put(`big ${i}`, "x".repeat(50_000));
  await client.close();
  const file = join(scratch.directory(), "snapshot.db");
  const words = [`--endpoints=${server.endpoint}`, "snapshot", "save", file];
  const saved = await runTool("reference", "etcdctl", words);
  expect(saved.code, saved.stderr).toBe(0);
  damages = damagesOf(fs.readFileSync(file));
}, 120_000);

afterAll(async () => {
  await bad.close();
  await server.stop();
  scratch.clean();
});

/** Runs a command of both; `words` makes it for a directory of its own. */
async function both(
  name: Tool,
  words: (directory: string) => readonly string[],
): Promise<{ readonly [program in Program]: Ended }> {
  const one = (program: Program) =>
    turns.take(() => runTool(program, name, words(scratch.directory())));
  const [ours, reference] = await Promise.all([one("ours"), one("reference")]);
  return { ours, reference };
}

const DAMAGES: readonly string[] = Object.keys(damagesOf(new Uint8Array(4 * 4096)));
const OPTIONS = { timeout: 180_000 };

describe.concurrent("a damaged snapshot", OPTIONS, () => {
  test.each(DAMAGES)("%s", async (name) => {
    const place = (directory: string): string => {
      const file = join(directory, "damaged.db");
      fs.writeFileSync(file, damages[name]!.bytes);
      return file;
    };
    const status = await both("etcdutl", (directory) => ["snapshot", "status", place(directory)]);
    const restore = await both("etcdutl", (directory) => [
      ...["snapshot", "restore", place(directory), "--data-dir", join(directory, "data")],
    ]);
    expect(restore.ours.code, restore.ours.stderr).toBe(restore.reference.code);
    // Of an empty file the reference tells the system's error.
    if (name === "empty") expect(errorOf(restore.reference)).toMatch(/^seek .*invalid argument$/);
    else expect(errorOf(restore.ours)).toBe(errorOf(restore.reference));
    // Of a file that is broken the reference may panic, which is 2.
    if (status.reference.code === 0) {
      expect(status.ours.code, status.ours.stderr).toBe(0);
      expect(status.ours.stdout).toBe(status.reference.stdout);
    } else expect(status.ours.code, status.ours.stderr).toBe(1);
  });
});

describe.concurrent("an endpoint", OPTIONS, () => {
  const kinds: { readonly [name: string]: () => Promise<string> } = {
    "where nobody listens": async () => `127.0.0.1:${await freePort()}`,
    "that never answers": () => bad.silent(),
    "that is a web server": () => bad.web(),
    "that is of another protocol": () => bad.foreign(),
    "that is for peers": () => Promise.resolve(server.peer),
    "that dies amid a snapshot": () => bad.halfDead(server.endpoint, 1_000_000, "dies"),
    "that stalls amid a snapshot": () => bad.halfDead(server.endpoint, 1_000_000, "stalls"),
  };

  test.each(Object.keys(kinds))("%s", async (name) => {
    const endpoint = await kinds[name]!();
    for (const command of ENDPOINT_COMMANDS) {
      const { ours, reference } = await both("etcdctl", (directory) => [
        `--endpoints=${endpoint}`,
        ...BOUNDED,
        ...command.map((word) => (word === "FILE" ? join(directory, "x.db") : word)),
      ]);
      expect(ours.code, `${command.join(" ")}: ${ours.stderr}`).toBe(reference.code);
      // Of a connection that breaks each has its own words.
      const [told, wanted] = [errorOf(ours), errorOf(reference)].map((text) =>
        text.replace(/(Unavailable desc = ).*/, "$1"),
      );
      expect(told, command.join(" ")).toBe(wanted);
    }
  });
});
