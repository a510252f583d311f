/** Dialling with TLS: what is refused, and in which words. */

import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import * as net from "node:net";
import { CertificateAuthority } from "@etcd-ts/certs";
import type { CertificatePair } from "@etcd-ts/certs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dialTLS } from "./tls-dial.ts";
import { RpcClient } from "./rpc-client.ts";
import type { ClientTLSOptions } from "./tls-dial.ts";

let ca: CertificateAuthority;
let pair: CertificatePair;
let server: http2.Http2SecureServer;
let plain: net.Server;

async function listen(cert: CertificatePair): Promise<http2.Http2SecureServer> {
  const made = http2.createSecureServer({ cert: cert.cert, key: cert.key });
  made.on("sessionError", () => {});
  await new Promise<void>((resolve) => made.listen(0, "127.0.0.1", resolve));
  return made;
}

beforeAll(async () => {
  ca = await CertificateAuthority.create();
  pair = await ca.issue({ hosts: ["127.0.0.1", "etcd.example"] });
  server = await listen(pair);
  plain = net.createServer((socket) => socket.end("hello, this is not TLS\n"));
  await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
});

afterAll(() => {
  server.close();
  plain.close();
});

function addressOf(listener: net.Server): { kind: "tcp"; host: string; port: number } {
  return { kind: "tcp", host: "127.0.0.1", port: (listener.address() as AddressInfo).port };
}

async function failure(listener: net.Server, options: ClientTLSOptions): Promise<string> {
  try {
    const socket = await dialTLS(addressOf(listener), options, 5000);
    socket.destroy();
    return "connected";
  } catch (error) {
    return (error as Error).message;
  }
}

test("RpcClient.connect() negotiates h2 with a server the authority vouches for", async () => {
  let asked = 0;
  const client = await RpcClient.connect(addressOf(server), {
    tls: () => {
      asked++;
      return { ca: ca.pair.cert };
    },
  });
  expect([asked, client.session.alpnProtocol]).toEqual([1, "h2"]);
  await client.close();
});

test("dialTLS() refuses with Go's reasons, and accepts what it is told to", async () => {
  const trusted = { ca: ca.pair.cert };
  expect(await failure(server, trusted)).toBe("connected");
  expect(await failure(server, { ...trusted, serverName: "etcd.example" })).toBe("connected");
  expect(await failure(server, {})).toContain("x509: certificate signed by unknown authority");
  expect(await failure(server, { insecureSkipVerify: true })).toBe("connected");
  expect(await failure(server, { ...trusted, serverName: "other.example" })).toContain(
    "x509: certificate is valid for etcd.example, not other.example",
  );
  expect(await failure(server, { ...trusted, serverName: "127.0.0.9" })).toContain(
    "x509: certificate is valid for 127.0.0.1, not 127.0.0.9",
  );
  // The leaf itself may be the anchor.
  expect(await failure(server, { ca: pair.cert })).toBe("connected");
  expect(await failure(plain, trusted)).toContain(
    "first record does not look like a TLS handshake",
  );
  const expired = await listen(
    await ca.issue({ hosts: ["127.0.0.1"], notBefore: new Date(0), validityDays: 1 }),
  );
  expect(await failure(expired, trusted)).toContain("certificate has expired or is not yet valid");
  expired.close();
});
