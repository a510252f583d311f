import * as http from "node:http";

import { GRPC_CODES, KV, Lease, Maintenance, RPC_ERRORS, RpcError, Watch } from "@etcd-ts/api";
import type { RangeRequest } from "@etcd-ts/api";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

import { CLOCK, startBed, until } from "../../compliance/echo-bed.ts";
import type { Bed } from "../../compliance/echo-bed.ts";
import { JsonGateway, Metadata, ServiceTable } from "../index.ts";
import type { CallContext } from "../index.ts";

const HEADER = { clusterID: 2n ** 64n - 1n, memberID: 7n, revision: 3, raftTerm: 2 };
const HEADER_JSON = `{"cluster_id":"18446744073709551615","member_id":"7","revision":"3","raft_term":"2"}`;

let bed: Bed;
let seen: { request: unknown; call: CallContext }[] = [];
let cancelled = 0;

function table(): ServiceTable {
  const services = new ServiceTable();
  services.unary(KV.Range, (request, call) => {
    seen.push({ request, call });
    if (request.key.length === 0) call.fail(RPC_ERRORS.emptyKey);
    else if (request.key[0] === 0) call.onCancel(() => cancelled++);
    else {
      const metadata = new Metadata();
      metadata.append("x-one", "1");
      call.sendHeaders(metadata);
      const kv = {
        key: request.key,
        createRevision: 2,
        modRevision: 2,
        version: 1,
        value: new Uint8Array([251, 255]),
        lease: 0n,
        encoded: undefined,
      };
      call.respond({ header: HEADER, kvs: [kv], more: false, count: 1 });
    }
  });
  services.unary(Lease.LeaseRevoke, (request, call) => {
    seen.push({ request, call });
    call.fail(new RpcError("T", GRPC_CODES.UNAUTHENTICATED, "who?"));
  });
  services.stream(Maintenance.Snapshot, (call) => {
    let sent = 0;
    const pump = (): void => {
      while (sent < 200) {
        const blob = new Uint8Array(10_000).fill(sent++);
        if (
          !call.send({
            $typeName: "etcdserverpb.SnapshotResponse",
            remainingBytes: 0n,
            blob,
            version: "<&>",
          })
        )
          return;
      }
      call.end();
    };
    call.onDrain(pump);
    call.onMessage(pump);
  });
  services.stream(Lease.LeaseKeepAlive, (call) => {
    call.onCancel(() => cancelled++);
    call.onMessage((request) => {
      if (request.id < 0n) call.fail(RPC_ERRORS.leaseNotFound);
      else call.send({ header: HEADER, id: request.id, ttl: 5 });
    });
    call.onEnd(() => call.end());
  });
  services.stream(Watch.Watch, (call) => call.fail(RPC_ERRORS.watchCanceled));
  return services;
}

beforeAll(async () => {
  const services = table();
  const gateway = new JsonGateway({
    table: services,
    clock: CLOCK,
    receiveMessageBytesMax: 10_000,
    memoryBytesMax: 25_000,
    bodyTimeoutMs: 1000,
    websocketsMax: 2,
  });
  bed = await startBed(
    {
      httpHandler: (request, response) => {
        if (gateway.handle(request, response)) return;
        response.statusCode = 404;
        response.end();
      },
      upgradeHandler: (request, socket, head) => gateway.handleUpgrade(request, socket, head),
    },
    { table: services, events: [] },
  );
});
afterAll(() => bed.close());
beforeEach(() => {
  seen = [];
  cancelled = 0;
});

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

function ask(
  path: string,
  body: string | Buffer,
  options: http.RequestOptions = {},
): Promise<Answer> {
  const { promise, resolve, reject } = deferred<Answer>();
  const request = http.request(
    {
      host: bed.address.host,
      port: bed.address.port,
      path,
      method: "POST",
      agent: false,
      ...options,
    },
    (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => void chunks.push(chunk));
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    },
  );
  request.on("error", reject);
  request.end(body);
  return promise;
}

function deferred<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
} {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

describe("unary", () => {
  test("maps names, 64-bit numbers and bytes as etcd does", async () => {
    const answer = await ask("/v3/kv/range", `{"key":"Zm9v"}`);
    expect(answer.body).toBe(
      `{"header":${HEADER_JSON},"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"+/8="}],"count":"1"}`,
    );
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      "content-type": "application/json",
      "grpc-metadata-content-type": "application/grpc",
      "grpc-metadata-x-one": "1",
      "content-length": String(answer.body.length),
    });
  });

  test.each([
    [`{"key":"-_8="}`, { key: new Uint8Array([251, 255]) }],
    [`{"key":"+/8"}`, { key: new Uint8Array([251, 255]) }],
    [`{"key":"YQ==","sort_order":"DESCEND","sortTarget":"MOD"}`, { sortOrder: 2, sortTarget: 3 }],
    [`{"key":"YQ==","sort_order":2}`, { sortOrder: 2 }],
    [`{"key":"YQ==","sort_order":"NO_SUCH"}`, { sortOrder: 0 }],
    [`{"key":"YQ==","limit":"12","revision":34}`, { limit: 12, revision: 34 }],
    [`{"key":"YQ==","limit":"1.0","revision":3e1}`, { limit: 1, revision: 30 }],
    [`{"key":"YQ","range_end":null}`, { key: new Uint8Array([97]) }],
    [`{"key":"YQ==","no_such_field":{"a":[1,"}"]}}`, { key: new Uint8Array([97]) }],
    [`{"key":"YQ=="} and what follows is ignored`, { key: new Uint8Array([97]) }],
    [` \n{"key":"YQ==","keys_only":true}`, { keysOnly: true }],
  ])("reads %s", async (body, expected) => {
    expect((await ask("/v3/kv/range", body)).status).toBe(200);
    expect(seen[0]?.request as RangeRequest).toMatchObject(expected);
  });

  test("reads a 64-bit number exactly, quoted or not", async () => {
    await ask("/v3/lease/revoke", `{"ID":7587862072907233281}`);
    await ask("/v3/kv/lease/revoke", `{"ID":"-7587862072907233281"}`);
    expect(seen.map(({ request }) => request)).toMatchObject([
      { id: 7587862072907233281n },
      { id: -7587862072907233281n },
    ]);
  });

  test.each([
    ["", 400, `{"code":3,"message":"etcdserver: key is not provided"}`],
    [`{"key":`, 400, `{"code":3,"message":"unexpected EOF"}`],
    ["xx", 400, `{"code":3,"message":"invalid character 'x' looking for beginning of value"}`],
    [`{"key":1}`, 400, undefined],
    [`[]`, 400, undefined],
    [`{"limit":"x"}`, 400, undefined],
    [`{"key":}`, 400, undefined],
    [`{]`, 400, undefined],
    [`null`, 400, undefined],
    [`{"key":"YQ==","key":"YQ=="}`, 400, undefined],
    [`{"key":"YQ==","rangeEnd":"YQ==","range_end":"YQ=="}`, 400, undefined],
    [`{"key":"Y Q="}`, 400, undefined],
    [`{"key":"Y"}`, 400, undefined],
    [`{"key":"YQ="}`, 400, undefined],
    [`{"key":"YQ==","limit":1.5}`, 400, undefined],
    [`{"key":"YQ==","limit":9223372036854775808}`, 400, undefined],
    [Buffer.from(`{"key":"\xff"}`, "latin1"), 400, undefined],
    [`{"a":`.repeat(2_000) + `0` + `}`.repeat(2_000), 400, undefined],
  ])("answers %s with %i", async (body, status, text) => {
    const answer = await ask("/v3/kv/range", body);
    expect([answer.status, (JSON.parse(answer.body) as { code: number }).code]).toEqual([
      status,
      3,
    ]);
    expect(answer.headers["grpc-metadata-content-type"]).toBeUndefined();
    if (text !== undefined) expect(answer.body).toBe(text);
  });

  test("answers Unauthenticated with a challenge", async () => {
    const answer = await ask("/v3/lease/revoke", "{}");
    expect([answer.status, answer.headers["www-authenticate"], answer.body]).toEqual([
      401,
      "who?",
      `{"code":16,"message":"who?"}`,
    ]);
  });

  test("refuses a message above the receive maximum as gRPC does", async () => {
    const answer = await ask("/v3/kv/range", `{"key":"${"A".repeat(16_000)}"}`);
    expect([answer.status, answer.body]).toEqual([
      429,
      `{"code":8,"message":"grpc: received message larger than max (12003 vs. 10000)"}`,
    ]);
  });

  test("refuses an object that is too long before it has been read", async () => {
    const answer = await ask("/v3/kv/range", `{"key":"${"A".repeat(100_000)}`);
    expect(answer.status).toBe(429);
  });
});

describe("routing", () => {
  test("answers 404 and 501 as grpc-gateway", async () => {
    const unknown = await ask("/v3/nope", "");
    expect([unknown.status, unknown.body]).toEqual([404, `{"code":5,"message":"Not Found"}`]);
    const slash = await ask("/v3/kv/range/", "");
    expect(slash.status).toBe(404);
    const wrong = await ask("/v3/kv/range", "", { method: "GET" });
    expect([wrong.status, wrong.body]).toEqual([501, `{"code":12,"message":"Method Not Allowed"}`]);
  });

  test("serves the old prefix, encoded paths and queries", async () => {
    for (const path of ["/v3beta/kv/range", "/v3/kv/%72ange", "/v3/kv/range?key=x"]) {
      expect((await ask(path, `{"key":"YQ=="}`)).status).toBe(200);
    }
  });

  test.each([
    ["/v3", "/v3/"],
    ["/v3//kv/range", "/v3/kv/range"],
    ["/v3/kv/../kv/./range?x=1", "/v3/kv/range?x=1"],
    ["/v3/kv//", "/v3/kv/"],
  ])("redirects %s to %s", async (path, location) => {
    const answer = await ask(path, "");
    expect([answer.status, answer.headers.location]).toEqual([307, location]);
  });

  test("leaves other paths alone", async () => {
    expect((await ask("/v3alpha/kv/range", "")).body).toBe("");
    expect((await ask("/%zz", "")).body).toBe("");
  });
});

describe("headers", () => {
  test("become metadata under grpc-gateway's names", async () => {
    await ask("/v3/kv/range", `{"key":"YQ=="}`, {
      headers: {
        authorization: "tok",
        accept: "*/*",
        "Grpc-Metadata-Hasleader": "true",
        "Grpc-Metadata-X-Bin": "AP8=",
        "x-other": "no",
        "x-forwarded-for": "1.2.3.4",
      },
    });
    const { metadata } = seen[0]!.call;
    expect({
      authorization: metadata.get("authorization"),
      prefixed: metadata.get("grpcgateway-authorization"),
      accept: metadata.get("grpcgateway-accept"),
      hasleader: metadata.get("hasleader"),
      binary: metadata.get("x-bin"),
      other: metadata.get("x-other") ?? metadata.get("grpcgateway-x-other"),
      forwardedFor: metadata.get("x-forwarded-for"),
      forwardedHost: metadata.get("x-forwarded-host"),
    }).toEqual({
      authorization: "tok",
      prefixed: "tok",
      accept: "*/*",
      hasleader: "true",
      binary: "\u0000\u00ff",
      other: undefined,
      forwardedFor: "1.2.3.4, 127.0.0.1",
      forwardedHost: `${bed.address.host}:${bed.address.port}`,
    });
  });

  test("a time-out is kept, or refused", async () => {
    const late = await ask("/v3/kv/range", `{"key":"AA=="}`, {
      headers: { "grpc-timeout": "20m" },
    });
    expect([late.status, late.body]).toEqual([
      504,
      `{"code":4,"message":"context deadline exceeded"}`,
    ]);
    expect(cancelled).toBe(1);
    for (const past of ["1n", "-5S"]) {
      const { status } = await ask("/v3/kv/range", "", { headers: { "grpc-timeout": past } });
      expect(status).toBe(504);
    }
    const bad = await ask("/v3/kv/range", "", { headers: { "grpc-timeout": "xx" } });
    expect([bad.status, bad.body]).toEqual([
      400,
      `{"code":3,"message":"invalid grpc-timeout: xx"}`,
    ]);
  });
});

describe("streams", () => {
  test("answer in lines", async () => {
    const answer = await ask("/v3/lease/keepalive", `{"ID":"7"} {"ID":8}{"ID":"9"}`);
    expect(answer.body).toBe(
      [7, 8, 9]
        .map((id) => `{"result":{"header":${HEADER_JSON},"ID":"${id}","TTL":"5"}}\n`)
        .join(""),
    );
    expect(answer.headers).toMatchObject({
      "content-type": "application/json",
      "grpc-metadata-content-type": "application/grpc",
      "transfer-encoding": "chunked",
    });
  });

  test("without any message answer 200 and nothing", async () => {
    const answer = await ask("/v3/lease/keepalive", "");
    expect([answer.status, answer.body, answer.headers["content-type"]]).toEqual([
      200,
      "",
      undefined,
    ]);
    expect(answer.headers["transfer-encoding"]).toBe("chunked");
  });

  test("end their sending side at the first object that is malformed", async () => {
    const answer = await ask("/v3/lease/keepalive", `{"ID":"7"} garbage`);
    expect([answer.status, answer.body.split("\n").length]).toEqual([200, 2]);
  });

  test("give an error the status of the answer before, and a line after the first message", async () => {
    const before = await ask("/v3/watch", `{}`);
    expect([before.status, before.body]).toEqual([
      499,
      `{"error":{"code":1,"message":"etcdserver: watch canceled"}}\n`,
    ]);
    const after = await ask("/v3/lease/keepalive", `{"ID":"7"}{"ID":"-1"}`);
    expect([after.status, after.body.split("\n")[1]]).toEqual([
      200,
      `{"error":{"code":5,"message":"etcdserver: requested lease not found"}}`,
    ]);
  });

  test("of the server keep order under back-pressure and escape what HTML would read", async () => {
    const answer = await ask("/v3/maintenance/snapshot", "{}");
    const lines = answer.body.trimEnd().split("\n");
    expect(lines.length).toBe(200);
    const firsts = lines.map((line) => {
      const { blob } = (JSON.parse(line) as { result: { blob: string } }).result;
      return Buffer.from(blob, "base64")[0];
    });
    expect(firsts).toEqual(Array.from({ length: 200 }, (_, i) => i));
    expect(lines[0]).toContain(`"version":"\\u003c\\u0026\\u003e"`);
  });

  test("answer while the request goes on, and end when the client leaves", async () => {
    const lines: string[] = [];
    const request = http.request(
      {
        host: bed.address.host,
        port: bed.address.port,
        path: "/v3/lease/keepalive",
        method: "POST",
      },
      (response) => response.on("data", (chunk: Buffer) => void lines.push(chunk.toString())),
    );
    request.on("error", () => undefined);
    request.write(`{"I`);
    request.write(`D":"1"}`);
    await until(() => lines.length === 1, "first line");
    request.write(`{"ID":"2"}`);
    await until(() => lines.length === 2, "second line");
    request.destroy();
    await until(() => cancelled === 1, "cancelled");
  });
});

describe("a body", () => {
  const head = (path: string): string =>
    `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n`;

  test("that stands still ends its connection", async () => {
    const raw = await bed.raw();
    raw.socket.write(`${head("/v3/kv/range")}{"key":"`);
    await raw.closed;
    expect([raw.received().length, seen.length]).toEqual([0, 0]);
  });

  test("of many requests may stand still, and a call may take its time", async () => {
    const stream = await bed.raw();
    stream.socket.write(`${head("/v3/lease/keepalive")}{"ID":"1"}`);
    const unary = await bed.raw();
    const body = `{"key":"AA=="}`;
    unary.socket.write(
      `POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await until(() => stream.received().includes("result"), "answer");
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect([stream.isClosed(), unary.isClosed()]).toEqual([false, false]);
    stream.socket.destroy();
    unary.socket.destroy();
    await until(() => cancelled === 2, "cancelled");
  });

  test("that holds more than its share of what all may hold is refused", async () => {
    const [small, large] = [await bed.raw(), await bed.raw()];
    const keepMoving = setInterval(() => small.socket.write("A"), 50);
    small.socket.write(`${head("/v3/kv/range")}{"key":"${"A".repeat(8_000)}`);
    large.socket.write(`${head("/v3/kv/range")}{"key":"${"A".repeat(18_000)}`);
    await until(() => large.received().includes("429"), "refusal");
    expect(large.received().toString()).toContain("too many request bodies are being received");
    expect(small.received().length).toBe(0);
    clearInterval(keepMoving);
    small.socket.destroy();
    large.socket.destroy();
  });
});

describe("websocket", () => {
  function open(path: string, protocols?: string[], headers?: http.OutgoingHttpHeaders): WebSocket {
    const url = `ws://${bed.address.host}:${bed.address.port}${path}`;
    return new WebSocket(
      url,
      protocols,
      headers === undefined ? {} : { headers: headers as { [name: string]: string } },
    );
  }

  test("carries a stream both ways, one message a line", async () => {
    const websocket = open("/v3/lease/keepalive");
    const messages: string[] = [];
    websocket.on("message", (data: Buffer) => void messages.push(data.toString()));
    await new Promise((resolve) => websocket.once("open", resolve));
    websocket.send(`{"ID":"1"}`);
    await until(() => messages.length === 1, "first");
    websocket.send(`{"ID":"2"}`);
    await until(() => messages.length === 2, "second");
    expect(messages[1]).toBe(`{"result":{"header":${HEADER_JSON},"ID":"2","TTL":"5"}}`);
    websocket.close();
    await until(() => cancelled === 1, "cancelled");
  });

  test.each<[string, string[] | undefined, http.OutgoingHttpHeaders | undefined]>([
    ["the sub-protocol", ["Bearer", "tok"], undefined],
    ["the cookie", undefined, { cookie: "a=b; token=tok" }],
  ])("takes the token from %s", async (_name, protocols, headers) => {
    const websocket = open("/v3/kv/range", protocols, headers);
    const messages: string[] = [];
    websocket.on("message", (data: Buffer) => void messages.push(data.toString()));
    const closed = new Promise((resolve) => websocket.once("close", resolve));
    await new Promise((resolve) => websocket.once("open", resolve));
    expect(websocket.protocol).toBe(protocols === undefined ? "" : "Bearer");
    websocket.send(`{"key":"YQ=="}`);
    await closed;
    expect(messages.length).toBe(1);
    expect(seen[0]?.call.metadata.get("authorization")).toBe("Bearer tok");
  });

  test("above the maximum is refused, until another ends", async () => {
    const [first, second] = [open("/v3/lease/keepalive"), open("/v3/lease/keepalive")];
    await Promise.all([first, second].map((one) => new Promise((done) => one.once("open", done))));
    const third = open("/v3/lease/keepalive");
    const refusal = await new Promise<Error>((resolve) => third.once("error", resolve));
    expect(refusal.message).toContain("503");
    first.close();
    await until(() => cancelled === 1, "cancelled");
    const fourth = open("/v3/lease/keepalive");
    await new Promise((resolve) => fourth.once("open", resolve));
    second.close();
    fourth.close();
    await until(() => cancelled === 3, "all cancelled");
  });

  test("to an unknown path is told so", async () => {
    const websocket = open("/v3/nope");
    const message = await new Promise<string>((resolve) =>
      websocket.once("message", (data: Buffer) => resolve(data.toString())),
    );
    expect(message).toBe(`{"code":5,"message":"Not Found"}`);
    websocket.terminate();
  });
});
