import { connect } from "node:net";

import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { startEtcd } from "../etcd.ts";
import type { Etcd } from "../etcd.ts";
import { requestTarget } from "./request-target.ts";

describe("requestTarget()", () => {
  test.each([
    ["/version", "/version"],
    ["/%76ersion?x=1", "/version"],
    ["http://a.example/version", "/version"],
    ["http://a.example:99999/version", "/version"],
    ["http://[::1]:2379/health", "/health"],
    ["http://a.example", "/"],
    ["http://a.example?x", "/"],
    ["", "/"],
    ["/version#x", "/version#x"],
    ["/\u00ff%FF", "/\u00ff\u00ff"],
  ])("of %j is %j", (url, pathname) => {
    expect(requestTarget({ url })?.pathname).toBe(pathname);
  });

  test.each(["*", "http://[", "http://[/x", "ftp://a/x", "a.example:80", "/%", "/%zz", "/a%2"])(
    "refuses %j",
    (url) => {
      expect(requestTarget({ url })).toBeUndefined();
    },
  );

  test("never throws, and reads the query whatever it is", () => {
    expect(requestTarget({ url: "/x?exclude=a&%zz&exclude=b" })?.query.getAll("exclude")).toEqual([
      "a",
      "b",
    ]);
    const piece = fc.constantFrom("/", "%", "%2e", "..", "*", "http://", "[", "]", "@", ":", "?");
    const url = fc.array(fc.oneof(piece, fc.string())).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(url, (text) => {
        const target = requestTarget({ url: text });
        if (target !== undefined) expect(target.pathname.startsWith("/")).toBe(true);
      }),
    );
  });
});

describe("a member goes on after", () => {
  let etcd: Etcd;
  beforeAll(async () => {
    etcd = await startEtcd({ listenMetricsURLs: "http://127.0.0.1:0" });
  });
  afterAll(() => etcd.stop());

  /** What comes back on a connection of its own until it is closed. */
  function exchange(url: string, bytes: string): Promise<string> {
    const { hostname, port } = new URL(url);
    return new Promise((resolve) => {
      const socket = connect({ host: hostname, port: Number(port) });
      let received = "";
      socket.on("data", (chunk) => {
        received += chunk.toString("latin1");
      });
      socket.on("error", () => undefined);
      socket.on("close", () => resolve(received));
      socket.write(bytes, "latin1");
    });
  }

  const ports = {
    client: () => etcd.endpoints,
    metrics: () => etcd.metricsURLs,
    peer: () => etcd.peerURLs,
  };
  const kinds = Object.keys(ports) as (keyof typeof ports)[];

  test.each(kinds.flatMap((kind) => ["*", "http://[", "/%zz"].map((target) => ({ kind, target }))))(
    "GET $target on its $kind port",
    async ({ kind, target }) => {
      const url = ports[kind]()[0]!;
      const end = "Host: x\r\nConnection: close\r\n\r\n";
      expect(await exchange(url, `GET ${target} HTTP/1.1\r\n${end}`)).toMatch(/^HTTP\/1.1 40[04] /);
      const health = kind === "peer" ? "/version" : "/health";
      expect(await exchange(url, `GET ${health} HTTP/1.1\r\n${end}`)).toMatch(/^HTTP\/1.1 200 OK/);
    },
  );

  test("a path that is not clean is sent to the clean one", async () => {
    const answer = await exchange(
      etcd.endpoints[0]!,
      "GET /a/..//%76ersion?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    expect(answer).toMatch(/^HTTP\/1.1 307 Temporary Redirect/);
    expect(answer).toContain("\r\nLocation: /version?a=b\r\n");
  });
});
