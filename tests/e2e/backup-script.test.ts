/** docs/examples/backup: the script, and what runs it on a schedule. */

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { Client } from "@etcd-ts/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { programOf, Scratch, startServer } from "../recovery/tools.ts";
import type { Server } from "../recovery/tools.ts";
import { freePort } from "../processes/free-ports.ts";

const examples = join(import.meta.dirname, "../../docs/examples/backup");
const script = join(examples, "etcd-backup");
const OPTIONS = { timeout: 180_000 };

const scratch = new Scratch();
let server: Server;
let programs: string;
let passphrase: string;

beforeAll(async () => {
  server = await startServer("ours", join(scratch.directory(), "data"));
  const client = new Client({ endpoints: [server.endpoint] });
  for (let i = 0; i < 50; i++) await client.kv.put(`secret ${i}`, "hush".repeat(5000));
  await client.close();
  programs = scratch.directory();
  for (const name of ["etcdctl", "etcdutl"]) {
    const words = programOf("ours", name)
      .map((word) => `"${word}"`)
      .join(" ");
    fs.writeFileSync(join(programs, name), `#!/bin/sh\nexec ${words} "$@"\n`, { mode: 0o755 });
  }
  passphrase = join(scratch.directory(), "passphrase");
  fs.writeFileSync(passphrase, "correct horse battery staple\n", { mode: 0o600 });
}, 120_000);

afterAll(async () => {
  await server.stop();
  scratch.clean();
});

interface Settings {
  readonly directory: string;
  readonly keep?: number;
  readonly endpoint?: string;
  readonly passphraseFile?: string;
  readonly before?: string;
}

async function backup(settings: Settings): Promise<{ code: number | null; output: string }> {
  const child = spawn("bash", ["-c", `${settings.before ?? ""} exec "$0"`, script], {
    env: {
      PATH: `${programs}:${process.env["PATH"]}`,
      BACKUP_DIRECTORY: settings.directory,
      BACKUP_PASSPHRASE_FILE: settings.passphraseFile ?? passphrase,
      BACKUP_KEEP: String(settings.keep ?? 14),
      ETCDCTL_ENDPOINTS: settings.endpoint ?? server.endpoint,
      ETCDCTL_COMMAND_TIMEOUT: "3s",
    },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, output };
}

function kept(directory: string): string[] {
  return fs
    .readdirSync(directory)
    .filter((name) => name !== ".lock")
    .sort();
}

describe.concurrent("etcd-backup", OPTIONS, () => {
  test("keeps the newest, encrypted, readable by its owner alone", async () => {
    const directory = join(scratch.directory(), "backups");
    fs.mkdirSync(directory);
    const old = ["etcd-20200101T000000Z.db.enc", "etcd-20210101T000000Z.db.enc"];
    for (const name of old) fs.writeFileSync(join(directory, name), "old");
    const { code, output } = await backup({ directory, keep: 2 });
    expect(code, output).toBe(0);
    expect(output).toMatch(/\nsaved .*\.db\.enc: \{"hash":\d+,"revision":51,/);
    const [first, second, ...more] = kept(directory);
    expect(more).toEqual([]);
    expect(first).toBe(old[1]);
    const file = join(directory, second!);
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
    expect(fs.readFileSync(file).includes("hush")).toBe(false);
  });

  test("fails and leaves older backups alone where a member does not answer", async () => {
    const directory = join(scratch.directory(), "backups");
    fs.mkdirSync(join(directory, ".unfinished.killed"), { recursive: true });
    fs.writeFileSync(join(directory, "etcd-20200101T000000Z.db.enc"), "old");
    const endpoint = `127.0.0.1:${await freePort()}`;
    const { code, output } = await backup({ directory, endpoint, keep: 1 });
    expect(code).toBe(5);
    expect(output).toContain("Error: context deadline exceeded");
    expect(kept(directory)).toEqual(["etcd-20200101T000000Z.db.enc"]);
  });

  test("fails and leaves nothing on a full disk", async () => {
    const directory = join(scratch.directory(), "backups");
    const { code } = await backup({ directory, before: "ulimit -f 200;" });
    expect(code).not.toBe(0);
    expect(kept(directory)).toEqual([]);
  });

  test("fails without a passphrase, or while another one runs", async () => {
    const directory = join(scratch.directory(), "backups");
    const missing = await backup({ directory, passphraseFile: join(directory, "none") });
    expect([missing.code, missing.output]).toEqual([
      1,
      `etcd-backup: ${join(directory, "none")} is empty or missing\n`,
    ]);
    fs.mkdirSync(directory);
    const second = await backup({ directory, before: `exec 8>"${directory}/.lock"; flock 8;` });
    expect([second.code, second.output]).toEqual([1, "etcd-backup: another one is running\n"]);
    expect(kept(directory)).toEqual([]);
  });

  test("notices a file that does not decrypt to what was saved", async () => {
    const directory = join(scratch.directory(), "backups");
    const broken = scratch.directory();
    // A disk that lies: a byte of what was encrypted is another one when it is read.
    const text = `#!/bin/bash
PATH=\${PATH#*:}
openssl "$@" || exit
[ "$2" = -e ] || exit 0
while [ "$1" != -out ]; do shift; done
printf x | dd of="$2" bs=1 seek=5000 conv=notrunc status=none
`;
    fs.writeFileSync(join(broken, "openssl"), text, { mode: 0o755 });
    const { code, output } = await backup({ directory, before: `PATH=${broken}:$PATH;` });
    expect(code, output).toBe(1);
    expect(output).toContain("etcd-backup: what is decrypted is not what was saved\n");
    expect(kept(directory)).toEqual([]);
  });
});

describe("what runs it", () => {
  const known = new Set([
    ...Array.from(fs.readFileSync(script, "utf8").matchAll(/^# {3}(\w+)/gm), ([, name]) => name!),
    "ETCDCTL_CACERT",
    "ETCDCTL_CERT",
    "ETCDCTL_KEY",
    "ETCDCTL_DIAL_TIMEOUT",
  ]);

  test("the systemd unit sets what the script and etcdctl read, and the timer starts it", async () => {
    const unit = fs.readFileSync(join(examples, "etcd-backup.service"), "utf8");
    const names = [...unit.matchAll(/^Environment=(\w+)=/gm)].map(([, name]) => name!);
    expect(names.filter((name) => !known.has(name))).toEqual([]);
    expect(names).toContain("BACKUP_PASSPHRASE_FILE");
    expect(unit).toContain("\nExecStart=/usr/local/bin/etcd-backup\n");
    const [, directory] = /^Environment=BACKUP_DIRECTORY=(.*)$/m.exec(unit)!;
    expect(unit).toContain(`\nReadWritePaths=${directory}\n`);
    expect(fs.existsSync(join(examples, "etcd-backup.timer"))).toBe(true);
  });

  test("the CronJob sets what the script and etcdctl read, and mounts what it names", async () => {
    const job = parse(fs.readFileSync(join(examples, "cronjob.yaml"), "utf8")) as {
      readonly spec: {
        readonly concurrencyPolicy: string;
        readonly jobTemplate: { readonly spec: { readonly template: { readonly spec: Pod } } };
      };
    };
    expect(job.spec.concurrencyPolicy).toBe("Forbid");
    const { containers, volumes } = job.spec.jobTemplate.spec.template.spec;
    const { command, env, volumeMounts } = containers[0]!;
    expect(command).toEqual(["bash", "/scripts/etcd-backup"]);
    expect(env.map(({ name }) => name).filter((name) => !known.has(name))).toEqual([]);
    const places = volumeMounts.map(({ mountPath }) => mountPath);
    for (const path of [command[1]!, ...env.map(({ value }) => value)]) {
      if (path.startsWith("/")) expect(places).toContain(`/${path.split("/")[1]}`);
    }
    expect(volumes.map(({ name }) => name)).toEqual(volumeMounts.map(({ name }) => name));
  });
});

interface Pod {
  readonly containers: readonly {
    readonly command: readonly string[];
    readonly env: readonly { readonly name: string; readonly value: string }[];
    readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  }[];
  readonly volumes: readonly { readonly name: string }[];
}
