/** A member inside a program: start, failure, stop. */

import { MemoryDisk, NULL_LOGGER } from "@etcd-ts/base";
import { NodeClock } from "@etcd-ts/runtime";
import { expect, test } from "vitest";
import { embedConfig } from "./config.ts";
import { startEtcd, startMember } from "./etcd.ts";
import { parseListenURLs } from "./listen-url.ts";

const ANY_PORT = parseListenURLs("http://127.0.0.1:0");

test("startEtcd() serves on a port of its own, and stop() is idempotent", async () => {
  const etcd = await startEtcd();
  expect(etcd.endpoints).toEqual([expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/)]);
  expect((await fetch(`${etcd.endpoints[0]}/health`)).status).toBe(200);
  await Promise.all([etcd.stop(), etcd.stop()]);
  expect(await etcd.ended).toBeUndefined();
  await expect(fetch(`${etcd.endpoints[0]}/health`)).rejects.toThrow();
});

test("peers that ask while a member is being closed are told so", async () => {
  const etcd = await startEtcd();
  const [peer] = etcd.peerURLs;
  expect((await fetch(`${peer}/version`)).status).toBe(200);
  // Its files are closed; its listeners follow.
  await etcd.server.stop();
  for (const path of ["/version", "/members", "/downgrade/enabled", "/raft/probing"]) {
    const answer = await fetch(`${peer}${path}`);
    expect([path, answer.status, await answer.text()]).toEqual([
      path,
      503,
      "etcdserver: server stopped\n",
    ]);
  }
  await etcd.stop();
});

test("a member whose disk is full ends with the reason", async () => {
  const disk = new MemoryDisk({ clock: new NodeClock() });
  const etcd = await startMember(
    embedConfig({
      dataDir: "data",
      listenClientURLs: ANY_PORT,
      listenPeerURLs: ANY_PORT,
      advertiseClientURLs: [],
    }),
    { disk, logger: NULL_LOGGER, commandLine: [] },
  );
  disk.fail({ operation: "write", code: "NO_SPACE" });
  const put = await fetch(`${etcd.endpoints[0]}/v3/kv/put`, {
    method: "POST",
    body: JSON.stringify({ key: "Zm9v", value: "YmFy" }),
  }).catch(() => undefined);
  expect(put?.ok ?? false).toBe(false);
  expect(await etcd.ended).toBeInstanceOf(Error);
});
