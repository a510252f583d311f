import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { MemoryLogger } from "@etcd-ts/base";
import { expect, test } from "vitest";
import { parseListenURLs } from "../listen-url.ts";
import { dialPlain } from "./dial.ts";
import { dialFrom, memberLocalAddress } from "./local-address.ts";
import { parsePeerURLs } from "./url-picker.ts";

test.each([
  ["http://10.0.0.1:2380", "10.0.0.1"],
  [
    "http://127.0.0.1:1,http://localhost:1,http://m1.example:1,http://10.0.0.2:1,http://10.0.0.3:1",
    "10.0.0.2",
  ],
  ["http://[::1]:1,http://[2001:db8::1]:1", "2001:db8::1"],
  ["http://0.0.0.0:1,unix:///socket", undefined],
])("memberLocalAddress() of %s is %s", (urls, address) => {
  const logger = new MemoryLogger();
  expect(memberLocalAddress(parseListenURLs(urls), logger)).toBe(address);
  expect(logger.events.at(-1)!.message).toBe(
    address === undefined
      ? "unable to set a member local address due to lack of suitable local addresses"
      : "setting member local address",
  );
});

test("dialFrom() connects from the address it was told", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const [url] = parsePeerURLs([`http://127.0.0.1:${port}`]);
  for (const [localAddress, seen] of [
    ["127.0.0.9", "127.0.0.9"],
    [undefined, "127.0.0.1"],
  ] as const) {
    const accepted = new Promise<string | undefined>((resolve) =>
      server.once("connection", (socket) => {
        resolve(socket.remoteAddress);
        socket.destroy();
      }),
    );
    const dialled = await dialFrom(localAddress, dialPlain)(url!, { timeoutMs: 5000 });
    expect(await accepted).toBe(seen);
    dialled.destroy();
  }
  await new Promise((resolve) => server.close(resolve));
});
