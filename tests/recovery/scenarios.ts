/**
 * What has happened before each section of the runbook is needed, and what must be true after it.
 */

import * as fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { contents, populate, withClient } from "./data.ts";
import type { Contents } from "./data.ts";
import { API_SERVER_MANIFEST, ETCD_MANIFEST, Kubelet } from "./kubelet.ts";
import type { Section } from "./runbook.ts";
import { allOf, Site } from "./site.ts";
import type { Program, Programs } from "./site.ts";

export interface Stage {
  readonly site: Site;
  /** Runs the section. */
  readonly follow: () => Promise<void>;
}

export interface Scenario {
  readonly machines: 1 | 3;
  readonly play: (stage: Stage) => Promise<void>;
}

const M1 = "http://10.0.0.1:2379";
/** Longer than changes wait before they are committed to the database. */
const COMMITTED_MS = 500;
const START_MS_MAX = 60_000;
const BUMP = 1_000_000_000;

function endpoints(site: Site, subnet = 0): readonly string[] {
  return site.machines.map((_machine, i) => `http://10.0.${subnet}.${i + 1}:2379`);
}

async function startAll({ site }: Stage, ...more: readonly string[]): Promise<void> {
  for (const machine of site.machines) {
    machine.configure(...more);
    await type(site, machine.name, "systemctl --no-block start etcd");
  }
  for (const endpoint of endpoints(site)) {
    await withClient(site, endpoint, ({ kv }) => kv.get("ready", { timeoutMs: START_MS_MAX }));
  }
}

async function type(site: Site, machine: string, script: string): Promise<void> {
  const { code, output } = await site.machine(machine).run(script);
  expect(code, `${script}\n${output}\n${site.logs()}`).toBe(0);
}

/** Data, a backup of them, and a write after it. @returns what the backup holds */
async function saved(site: Site): Promise<Contents> {
  await populate(site, M1);
  const held = await contents(site, M1);
  await type(site, "m1", `etcdctl --endpoints=${M1} snapshot save /backup/etcd.db`);
  await withClient(site, M1, ({ kv }) => kv.put("later", "lost"));
  return held;
}

/** All members have these data, and take writes. */
async function expectEverywhere(site: Site, held: Contents, subnet = 0): Promise<void> {
  const all = endpoints(site, subnet);
  for (const endpoint of all) expect(await contents(site, endpoint)).toEqual(held);
  await withClient(site, all.at(-1)!, ({ kv }) => kv.put("new", "x"));
  const { kvs } = await withClient(site, all[0]!, ({ kv }) => kv.get("new"));
  expect(kvs.length).toBe(1);
}

/** The keys are there, no revision of before is handed out again, watches from before end. */
async function expectRaised(site: Site, held: Contents): Promise<void> {
  for (const endpoint of endpoints(site)) {
    const found = await contents(site, endpoint);
    expect(found.pairs).toEqual(held.pairs);
    expect(found.revision).toBe(held.revision + BUMP);
  }
  await withClient(site, M1, async (client) => {
    const { header } = await client.kv.put("new", "x");
    expect(header!.revision).toBe(held.revision + BUMP + 1);
    const watcher = client.watch("key/", { prefix: true, startRevision: held.revision - 1 });
    const read = async (): Promise<void> => {
      for await (const response of watcher) void response;
    };
    await expect(read()).rejects.toHaveProperty("code", "COMPACTED");
  });
}

async function lose(site: Site, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const machine = site.machine(name);
    machine.kill("SIGKILL");
    await type(site, name, "systemctl stop etcd; rm -rf /var/lib/etcd");
  }
}

export const SCENARIOS: { readonly [title: string]: Scenario } = {
  "Back up": {
    machines: 1,
    async play(stage) {
      const { site } = stage;
      await startAll(stage);
      await populate(site, M1);
      await stage.follow();
      const kept = fs.readdirSync(`${site.directory}/backup`).sort();
      expect(kept).toEqual(["etcd.db", "etcd.db.enc"]);
      for (const name of kept) {
        expect(fs.statSync(`${site.directory}/backup/${name}`).mode & 0o777).toBe(0o600);
      }
    },
  },
  "Restore one member": {
    machines: 1,
    async play(stage) {
      await startAll(stage);
      const held = await saved(stage.site);
      await stage.follow();
      await expectEverywhere(stage.site, held);
    },
  },
  "Restore three members": {
    machines: 3,
    async play(stage) {
      await startAll(stage);
      const held = await saved(stage.site);
      for (const name of ["m2", "m3"]) stage.site.machine(name).kill("SIGKILL");
      await stage.follow();
      await expectEverywhere(stage.site, held);
    },
  },
  "Restore at new addresses": {
    machines: 3,
    async play(stage) {
      const { site } = stage;
      site
        .machine("m1")
        .write("/etc/kubernetes/manifests/kube-apiserver.yaml", API_SERVER_MANIFEST);
      await startAll(stage);
      const held = await saved(site);
      await stage.follow();
      await expectEverywhere(site, held, 1);
    },
  },
  "Go on with a survivor": {
    machines: 3,
    async play(stage) {
      const { site } = stage;
      await startAll(stage);
      await populate(site, M1);
      const held = await contents(site, M1);
      await lose(site, "m2", "m3");
      await stage.follow();
      await expectEverywhere(site, held);
    },
  },
  "Start from a copied data directory": {
    machines: 1,
    async play(stage) {
      const { site } = stage;
      const machine = site.machine("m1");
      await startAll(stage);
      await populate(site, M1);
      const held = await contents(site, M1);
      await sleep(COMMITTED_MS);
      // What a snapshot of the volume does: everything as it was at one moment.
      machine.kill("SIGSTOP");
      await type(site, "m1", "cp -a /var/lib/etcd /mnt/copy");
      machine.kill("SIGCONT");
      await withClient(site, M1, ({ kv }) => kv.put("later", "lost"));
      await stage.follow();
      await expectEverywhere(site, held);
      await type(
        site,
        "m1",
        `systemctl stop etcd; sed -i 's#^ETCD_DATA_DIR=.*#&-new#' /etc/default/etcd; systemctl start etcd`,
      );
      await expectEverywhere(site, held);
    },
  },
  "Kubernetes: etcd as a static pod": {
    machines: 1,
    async play({ site, follow }) {
      const machine = site.machine("m1");
      machine.write("/etc/kubernetes/manifests/kube-apiserver.yaml", API_SERVER_MANIFEST);
      machine.write("/etc/kubernetes/manifests/etcd.yaml", ETCD_MANIFEST);
      const kubelet = new Kubelet(machine);
      try {
        await withClient(site, M1, ({ kv }) => kv.get("ready"));
        const held = await saved(site);
        await follow();
        await expectRaised(site, held);
        expect(fs.readdirSync(machine.path("/etc/kubernetes/manifests"))).toHaveLength(2);
        expect(fs.existsSync(machine.path("/var/lib/etcd/member/snap/db"))).toBe(true);
      } finally {
        kubelet.stop();
      }
    },
  },
  "Kubernetes: etcd on machines of its own": {
    machines: 3,
    async play(stage) {
      await startAll(stage);
      const held = await saved(stage.site);
      await stage.follow();
      await expectRaised(stage.site, held);
    },
  },
  "Out of space": {
    machines: 1,
    async play(stage) {
      const { site, follow } = stage;
      await startAll(stage, "ETCD_QUOTA_BACKEND_BYTES=4000000");
      await withClient(site, M1, async ({ kv }) => {
        const fill = async (): Promise<void> => {
          for (let i = 0; i < 100; i++) await kv.put("big", "x".repeat(100_000));
        };
        await expect(fill()).rejects.toHaveProperty("code", "NO_SPACE");
      });
      await follow();
      await withClient(site, M1, async ({ kv, maintenance }) => {
        await kv.put("big", "x".repeat(100_000));
        expect((await maintenance.alarms()).alarms).toEqual([]);
      });
    },
  },
  "Replace a damaged member": {
    machines: 3,
    async play(stage) {
      const { site, follow } = stage;
      await startAll(stage);
      await populate(site, M1);
      const held = await contents(site, M1);
      await type(site, "m3", "systemctl stop etcd");
      const database = site.machine("m3").path("/var/lib/etcd/member/snap/db");
      const bytes = fs.readFileSync(database);
      for (const page of [0, 1]) bytes.fill(0x5a, page * 4096 + 16, page * 4096 + 80);
      fs.writeFileSync(database, bytes);
      await follow();
      await expectEverywhere(site, held);
    },
  },
  "Defragment without an outage": {
    machines: 3,
    async play(stage) {
      const { site, follow } = stage;
      await startAll(stage);
      await populate(site, M1);
      await withClient(site, M1, async ({ kv }) => {
        for (let i = 0; i < 20; i++) await kv.put("big", "x".repeat(200_000));
        const { header } = await kv.delete("big");
        await kv.compact(header!.revision, { physical: true });
      });
      const held = await contents(site, M1);
      const sizes = (): Promise<number[]> =>
        Promise.all(
          endpoints(site).map((endpoint) =>
            withClient(site, endpoint, async ({ maintenance }) =>
              Number((await maintenance.status()).dbSize),
            ),
          ),
        );
      const before = await sizes();
      await follow();
      const after = await sizes();
      for (const [i, bytes] of after.entries()) expect(bytes).toBeLessThan(before[i]! / 2);
      await expectEverywhere(site, held);
    },
  },
  "Upgrade, downgrade, swap": {
    machines: 3,
    async play(stage) {
      const { site, follow } = stage;
      await startAll(stage);
      await populate(site, M1);
      const held = await contents(site, M1);
      await follow();
      for (const machine of site.machines) {
        expect(fs.readlinkSync(machine.path("/usr/local/bin/etcd"))).toContain("/opt/etcd-next/");
      }
      await expectEverywhere(site, held);
    },
  },
  "Backups on a schedule": {
    machines: 1,
    async play(stage) {
      const { site } = stage;
      await startAll(stage);
      await populate(site, M1);
      const held = await contents(site, M1);
      const script = new URL("../../docs/examples/backup/etcd-backup", import.meta.url);
      fs.copyFileSync(script, site.machine("m1").path("/usr/local/bin/etcd-backup"));
      site.machine("m1").write("/etc/etcd/backup.pass", "correct horse battery staple\n");
      const settings =
        "BACKUP_DIRECTORY=/var/backups/etcd BACKUP_PASSPHRASE_FILE=/etc/etcd/backup.pass";
      await type(site, "m1", `${settings} ETCDCTL_ENDPOINTS=${site.real(M1)} etcd-backup`);
      await stage.follow();
      await type(site, "m1", "systemctl stop etcd; rm -r /var/lib/etcd");
      await type(
        site,
        "m1",
        `etcdutl snapshot restore /backup/etcd.db --data-dir /var/lib/etcd --name m1 \\
          --initial-cluster m1=http://10.0.0.1:2380 --initial-advertise-peer-urls http://10.0.0.1:2380
        systemctl start etcd`,
      );
      await expectEverywhere(site, held);
    },
  },
};

/** Whose programs wrote what is recovered, and whose recover it. */
export interface Cast {
  readonly before: Programs;
  readonly after: Programs;
  /** The server an upgrade goes to. */
  readonly next: Program;
}

export const ALL_OURS: Cast = { before: allOf("ours"), after: allOf("ours"), next: "ours" };

/** @param isSecure - all talk TLS */
export async function playScenario(section: Section, cast: Cast, isSecure = false): Promise<void> {
  const scenario = SCENARIOS[section.title];
  if (scenario === undefined) throw new Error(`nothing is known of section "${section.title}"`);
  const site = await Site.create(scenario.machines, isSecure);
  site.use(cast.before);
  try {
    await scenario.play({
      site,
      follow: () => {
        site.use(cast.after, cast.next);
        return site.run(section);
      },
    });
  } catch (error) {
    throw new Error(`${String(error)}\n${site.logs()}`, { cause: error });
  } finally {
    site.close();
  }
}
