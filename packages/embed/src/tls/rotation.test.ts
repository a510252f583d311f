/** Authority and leaves of a whole cluster are replaced under load, and no request fails. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { CertificateAuthority, writeWhole } from "@etcd-ts/certs";
import { Client } from "@etcd-ts/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePorts } from "../../../../tests/processes/free-ports.ts";
import type { EtcdSettings } from "../etcd.ts";
import { CertificateFixture, LOOPBACK, startLogged } from "./tls-fixture.ts";
import type { LoggedMember } from "./tls-fixture.ts";

const MEMBERS = [0, 1, 2];
const PUTS_PER_CONNECTION = 4;
const WRITERS = 2;

let fixture: CertificateFixture;
let settings: EtcdSettings[];
let members: LoggedMember[];

beforeAll(async () => {
  fixture = await CertificateFixture.make();
  for (const i of MEMBERS) await replaceLeaf(fixture.authority, `m${i}`);
  await replaceLeaf(fixture.authority, "client");
  const ports = await freePorts(MEMBERS.length * 2);
  const peerURL = (i: number): string => `https://127.0.0.1:${ports[i]}`;
  settings = MEMBERS.map((i) => ({
    name: `m${i}`,
    dataDir: join(fixture.directory, `data${i}`),
    clientSecurity: fixture.security(`m${i}`),
    peerSecurity: fixture.security(`m${i}`),
    listenClientURLs: `https://127.0.0.1:${ports[MEMBERS.length + i]}`,
    listenPeerURLs: peerURL(i),
    initialAdvertisePeerURLs: peerURL(i),
    initialCluster: MEMBERS.map((j) => `m${j}=${peerURL(j)}`).join(","),
    heartbeatIntervalMs: 100,
    electionTimeoutMs: 2000,
  }));
  members = await Promise.all(settings.map(startLogged));
});

afterAll(async () => {
  await Promise.all(members.map(({ etcd }) => etcd.stop()));
  fixture.remove();
});

async function replaceLeaf(authority: CertificateAuthority, name: string): Promise<string> {
  const pair = await authority.issue({ commonName: name, hosts: LOOPBACK });
  fixture.write(name, pair);
  return pair.serialNumber;
}

function newClient(): Client {
  return new Client({
    endpoints: members.flatMap(({ etcd }) => etcd.endpoints),
    timeoutMs: 20_000,
    tls: { caFile: fixture.caFile, ...fixture.files("client") },
  });
}

/** The serial number a member shows to those who come now. */
function shownBy(url: string, authority: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      {
        port: Number(new URL(url).port),
        host: "127.0.0.1",
        ca: authority,
        ...fixture.read("client"),
      },
      () => {
        resolve(socket.getPeerX509Certificate()!.serialNumber.toLowerCase());
        socket.destroy();
      },
    );
    socket.once("error", reject);
  });
}

class Load {
  written = 0;
  connections = 0;
  readonly failures: string[] = [];
  #isStopped = false;
  readonly #writers = Array.from({ length: WRITERS }, (_, i) => this.#write(i));

  async #write(writer: number): Promise<void> {
    for (let n = 0; !this.#isStopped;) {
      const client = newClient();
      this.connections++;
      for (let i = 0; i < PUTS_PER_CONNECTION && !this.#isStopped; i++, n++) {
        try {
          await client.kv.put(`load/${writer}/${n}`, "x");
          this.written++;
        } catch (error) {
          this.failures.push(String(error));
        }
      }
      await client.close();
    }
  }

  /** Until everybody has come back with what the files hold now. */
  async goOn(): Promise<void> {
    const enough = this.connections + 2 * WRITERS;
    await expect.poll(() => this.connections).toBeGreaterThanOrEqual(enough);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#writers);
  }
}

test(
  "an authority and all leaves are replaced without a failed request",
  { timeout: 240_000 },
  async () => {
    const watcher = newClient();
    const first = await watcher.kv.put("load/first", "x");
    const load = new Load();
    await load.goOn();

    const next = await CertificateAuthority.create({ commonName: "next" });
    writeWhole(fixture.caFile, fixture.authority.pair.cert + next.pair.cert, 0o644);
    await load.goOn();
    for (const [i, { etcd }] of members.entries()) {
      const serial = await replaceLeaf(next, `m${i}`);
      expect(await shownBy(etcd.endpoints[0]!, next.pair.cert)).toBe(serial);
      expect(await shownBy(etcd.peerURLs[0]!, next.pair.cert)).toBe(serial);
      await load.goOn();
    }
    await replaceLeaf(next, "client");
    await load.goOn();
    writeWhole(fixture.caFile, next.pair.cert, 0o644);
    await load.goOn();
    await load.stop();
    expect(load.failures).toEqual([]);

    // Members, too, go on with what is new: one comes back to the others.
    await members[2]!.etcd.stop();
    members[2] = await startLogged(settings[2]!);
    const client = newClient();
    const { count } = await client.kv.get("load/", { prefix: true, countOnly: true });
    expect(count).toBe(load.written + 1);
    const late = new Client({ ...client.options, endpoints: members[2].etcd.endpoints });
    expect((await late.kv.get("load/", { prefix: true, countOnly: true })).count).toBe(count);
    await late.close();

    // The connection from before all this still serves, and a certificate taken back opens none.
    expect((await watcher.kv.get("load/first")).kvs[0]!.modRevision).toBe(first.header!.revision);
    const list = await next.revoke([await replaceLeaf(next, "client")]);
    writeFileSync(fixture.crlFile, list);
    const revoked = newClient();
    await expect(revoked.kv.get("load/first", { timeoutMs: 1000 })).rejects.toThrow();
    await Promise.all([revoked.close(), client.close(), watcher.close()]);
    const refused = members.flatMap((member) => [...member.refusals("client")]);
    expect(refused.filter((reason) => !reason.endsWith("revoked"))).toEqual([]);
    expect(refused).not.toEqual([]);
  },
);
