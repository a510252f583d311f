/** The HTTP side of a running member: health, version, access control, gateway, websockets. */

import { request as httpRequest } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startEtcd } from "../etcd.ts";
import type { Etcd } from "../etcd.ts";

let etcd: Etcd;
let guarded: Etcd;

beforeAll(async () => {
  etcd = await startEtcd({ listenMetricsURLs: "http://127.0.0.1:0" });
  guarded = await startEtcd({ hostWhitelist: ["good.example"], cors: ["http://app.example"] });
});

afterAll(async () => {
  await Promise.all([etcd.stop(), guarded.stop()]);
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

function ask(
  base: string,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = "GET", headers = {}, body } = options;
    const request = httpRequest(new URL(path, base), { method, headers }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += String(chunk);
      });
      response.on("end", () => {
        resolve({ status: response.statusCode!, headers: response.headers, text });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

describe("health endpoints", () => {
  test("/health is true, and knows only GET", async () => {
    const health = await ask(etcd.endpoints[0]!, "/health");
    expect([health.status, health.text]).toEqual([200, '{"health":"true","reason":""}']);
    const post = await ask(etcd.endpoints[0]!, "/health", { method: "POST" });
    expect([post.status, post.headers.allow]).toEqual([405, "GET"]);
  });

  test("/livez and /readyz list their checks, leave some out, and run one", async () => {
    expect((await ask(etcd.endpoints[0]!, "/livez")).text).toBe("ok\n");
    const verbose = await ask(etcd.endpoints[0]!, "/readyz?verbose&exclude=non_learner");
    expect(verbose.text).toBe(
      "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n",
    );
    expect((await ask(etcd.endpoints[0]!, "/readyz/non_learner")).text).toBe("ok\n");
    expect((await ask(etcd.endpoints[0]!, "/livez/linearizable_read")).status).toBe(404);
  });

  test("a NOSPACE alarm fails /health but not /readyz", async () => {
    const alarm = (action: string) =>
      ask(etcd.endpoints[0]!, "/v3/maintenance/alarm", {
        method: "POST",
        body: JSON.stringify({ action, memberID: "5", alarm: "NOSPACE" }),
      });
    await alarm("ACTIVATE");
    const health = await ask(etcd.endpoints[0]!, "/health");
    expect([health.status, health.text]).toEqual([
      503,
      '{"health":"false","reason":"ALARM NOSPACE"}\n',
    ]);
    expect((await ask(etcd.endpoints[0]!, "/health?exclude=NOSPACE")).status).toBe(200);
    expect((await ask(etcd.endpoints[0]!, "/readyz")).status).toBe(200);
    await alarm("DEACTIVATE");
    expect((await ask(etcd.endpoints[0]!, "/health")).status).toBe(200);
  });
});

test("client listeners serve version, metrics and vars; metrics listeners less", async () => {
  const version = await ask(etcd.endpoints[0]!, "/version");
  expect(JSON.parse(version.text)).toMatchObject({ etcdserver: expect.stringMatching(/^3\.6\./) });
  const metrics = await ask(etcd.endpoints[0]!, "/metrics");
  expect(metrics.text).toContain("etcd_server_is_leader 1");
  expect(metrics.text).toContain('etcd_ts_event_loop_delay_seconds{quantile="0.999"}');
  expect(JSON.parse((await ask(etcd.endpoints[0]!, "/debug/vars")).text)).toHaveProperty(
    "memstats",
  );
  const only = etcd.metricsURLs[0]!;
  expect((await ask(only, "/metrics")).status).toBe(200);
  expect((await ask(only, "/health")).status).toBe(200);
  expect((await ask(only, "/version")).text).toBe("404 page not found\n");
});

test("the peer listener tells version and members", async () => {
  const members = await ask(etcd.peerURLs[0]!, "/members");
  expect(members.headers["x-etcd-cluster-id"]).toMatch(/^[0-9a-f]+$/);
  expect(JSON.parse(members.text)).toMatchObject([{ name: "default" }]);
  expect((await ask(etcd.peerURLs[0]!, "/version")).status).toBe(200);
});

describe("access control", () => {
  const good = { headers: { host: "good.example:2379" } };

  test("refuses an unknown host, also for the gateway and for websockets", async () => {
    const endpoint = guarded.endpoints[0]!;
    expect((await ask(endpoint, "/health", good)).status).toBe(200);
    const bad = await ask(endpoint, "/health", { headers: { host: "evil.example" } });
    expect(bad.status).toBe(421);
    expect(bad.text).toContain('--host-whitelist "evil.example"');
    const post = { method: "POST", body: "{}", headers: { host: "evil.example" } };
    expect((await ask(endpoint, "/v3/kv/range", post)).status).toBe(421);
    const upgrade = {
      host: "evil.example",
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    };
    expect((await ask(endpoint, "/v3/watch", { headers: upgrade })).status).toBe(421);
  });

  test("takes the host of a whole URL before that of the header", async () => {
    const { hostname, port } = new URL(guarded.endpoints[0]!);
    const statusOf = (target: string, host: string): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const options = { hostname, port, path: target, headers: { host } };
        httpRequest(options, (response) => {
          response.resume();
          resolve(response.statusCode);
        })
          .on("error", reject)
          .end();
      });
    expect(await statusOf("http://evil.example/health", "good.example")).toBe(421);
    expect(await statusOf("http://good.example:5/health", "evil.example")).toBe(200);
  });

  test("keeps websockets from pages of other origins", async () => {
    const upgrade = {
      ...good.headers,
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    };
    const open = (origin?: string): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const headers = origin === undefined ? upgrade : { ...upgrade, origin };
        const request = httpRequest(new URL("/v3/watch", guarded.endpoints[0]!), { headers });
        request.on("upgrade", (response, socket) => {
          socket.destroy();
          resolve(response.statusCode);
        });
        request.on("response", (response) => {
          response.resume();
          resolve(response.statusCode);
        });
        request.on("error", reject);
        request.end();
      });
    expect(await open("http://evil.example")).toBe(403);
    expect(await open("http://app.example")).toBe(101);
    expect(await open()).toBe(101);
  });

  test("lets known origins in, and answers preflights", async () => {
    const endpoint = guarded.endpoints[0]!;
    const origin = { headers: { ...good.headers, origin: "http://app.example" } };
    const known = await ask(endpoint, "/health", origin);
    expect(known.headers["access-control-allow-origin"]).toBe("http://app.example");
    const other = await ask(endpoint, "/health", {
      headers: { ...good.headers, origin: "http://x.example" },
    });
    expect(other.headers["access-control-allow-origin"]).toBeUndefined();
    const preflight = await ask(etcd.endpoints[0]!, "/v3/kv/put", { method: "OPTIONS" });
    expect([preflight.status, preflight.headers["access-control-allow-origin"]]).toEqual([
      200,
      "*",
    ]);
  });
});

test("the gateway puts, ranges and says what is wrong", async () => {
  const post = (path: string, body: object) =>
    ask(etcd.endpoints[0]!, path, { method: "POST", body: JSON.stringify(body) });
  expect((await post("/v3/kv/put", { key: "Zm9v", value: "YmFy" })).status).toBe(200);
  const range = JSON.parse((await post("/v3/kv/range", { key: "Zm9v" })).text) as {
    kvs: { value: string }[];
    count: string;
  };
  expect([range.kvs[0]?.value, range.count]).toEqual(["YmFy", "1"]);
  const empty = await post("/v3/kv/put", { value: "YmFy" });
  expect(empty.status).toBe(400);
  expect(JSON.parse(empty.text)).toMatchObject({
    code: 3,
    message: "etcdserver: key is not provided",
  });
});
