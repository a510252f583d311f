/** What the compliance suites do not ask of the clock, the network and the metrics on Node. */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { NetworkAddress } from "@etcd-ts/base";
import { expect, test } from "vitest";

import { EventLoopDelay, NodeClock, NodeNetwork, PrometheusMetrics } from "./index.ts";

test("a timer of an hour does not run at once, and its cancel frees the process", () => {
  const clock = new NodeClock();
  const timers = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const timer = clock.setTimer(2 ** 40, () => {});
  timer.cancel();
  const left = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  expect(left).toBe(timers);
});

test("dial() gives up after timeoutMs", async () => {
  // A listener that never takes anyone in: once its queue is full, nobody is answered.
  const script = `
    const server = require("net").createServer();
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
      require("fs").writeSync(1, String(server.address().port));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30000);
    });`;
  const deaf = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const [port] = (await once(deaf.stdout, "data")) as [Buffer];
  const address: NetworkAddress = { kind: "tcp", host: "127.0.0.1", port: Number(port) };
  const network = new NodeNetwork();
  const dials = Array.from({ length: 12 }, () => network.dial(address, { timeoutMs: 300 }));
  const outcomes = await Promise.allSettled(dials);
  const ended = once(deaf, "exit");
  deaf.kill("SIGKILL");
  await ended;
  const failed = outcomes.filter((outcome) => outcome.status === "rejected");
  expect(failed.length).toBeGreaterThan(0);
  for (const { reason } of failed) expect(reason).toMatchObject({ code: "TIMED_OUT" });
  for (const outcome of outcomes) if (outcome.status === "fulfilled") outcome.value.destroy();
});

test("a socket file in use keeps others from listening", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-ts-"));
  const address: NetworkAddress = { kind: "unix", path: join(directory, "s") };
  const network = new NodeNetwork();
  const listener = await network.listen(address, (connection) => connection.destroy());
  const second = network.listen(address, () => {});
  await expect(second).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
  await listener.close();
  rmSync(directory, { recursive: true });
});

test("a socket file that a killed program left does not", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-ts-"));
  const path = join(directory, "s");
  const script = `require("net").createServer()
    .listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  spawnSync(process.execPath, ["-e", script]);
  expect(lstatSync(path).isSocket()).toBe(true);
  const network = new NodeNetwork();
  const listener = await network.listen({ kind: "unix", path }, (taken) => taken.destroy());
  const connection = await network.dial({ kind: "unix", path }, { timeoutMs: 1000 });
  connection.destroy();
  await listener.close();
  rmSync(directory, { recursive: true });
});

test("a file that is no socket is left alone", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-ts-"));
  const path = join(directory, "data");
  writeFileSync(path, "precious");
  const listening = new NodeNetwork().listen({ kind: "unix", path }, () => {});
  await expect(listening).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
  expect(readFileSync(path, "utf8")).toBe("precious");
  rmSync(directory, { recursive: true });
});

test("dial() to a unix path without a socket is refused", async () => {
  const dial = new NodeNetwork().dial({ kind: "unix", path: "/nowhere/s" }, { timeoutMs: 100 });
  await expect(dial).rejects.toMatchObject({ code: "REFUSED" });
});

test("expose() adds the process's own metrics, sorted, each name once, in both formats", async () => {
  const metrics = new PrometheusMetrics();
  metrics.counter({ name: "etcd_x_total", help: "x" }).inc(2);
  const text = await metrics.expose("text/plain");
  expect(text.contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
  const open = await metrics.expose("application/openmetrics-text; version=1.0.0, */*;q=0.1");
  expect(open.contentType).toContain("application/openmetrics-text; version=1.0.0");
  expect(open.body.endsWith("# EOF\n")).toBe(true);
  expect(open.body).toContain("# TYPE etcd_x counter\netcd_x_total 2\n");
  const again = await metrics.expose();
  for (const body of [text.body, again.body]) {
    const names = [...body.matchAll(/^# TYPE (\S+) /gm)].map((match) => match[1]!);
    expect(names).toEqual([...new Set(names)].sort());
    expect(body).toContain("# TYPE etcd_x_total counter\netcd_x_total 2\n");
    expect(body).toMatch(/^process_resident_memory_bytes \d{7,}$/m);
    expect(body).toMatch(/^process_cpu_seconds_total \S+$/m);
    if (process.platform === "linux") {
      expect(body).toMatch(/^process_open_fds [1-9]\d*$/m);
      expect(body).toMatch(/^os_fd_used [1-9]\d*$/m);
      expect(body).toMatch(/^os_fd_limit [1-9]\d*$/m);
    }
  }
});

test("EventLoopDelay sees work that keeps the loop", async () => {
  const delay = new EventLoopDelay();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const untilMs = performance.now() + 60;
  while (performance.now() < untilMs);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const { maxMs, meanMs } = delay.stop();
  expect(maxMs).toBeGreaterThan(40);
  expect(meanMs).toBeLessThan(maxMs);
});
