import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HelloQueue, HELLOS_PER_TURN } from "./hello-queue.ts";

/** A record of two bytes that begins a handshake. */
const HELLO = Buffer.from([22, 3, 1, 0, 2, 1, 0]);

let server: Server;
let clients: Socket[];
let turn: number;
let started: { socket: Socket; turn: number }[];
let givenUp: string[];
let isOver: boolean;
let queue: HelloQueue;

beforeEach(async () => {
  [clients, started, givenUp, turn, isOver] = [[], [], [], 0, false];
  const count = (): void => {
    turn++;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  queue = queueOf({ timeoutMs: 60_000 });
  server = createServer({ pauseOnConnect: true }, (socket) => queue.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

function queueOf({ timeoutMs }: { timeoutMs: number }): HelloQueue {
  return new HelloQueue({
    timeoutMs,
    start: (socket) => started.push({ socket, turn }),
    giveUp: (_socket, reason) => givenUp.push(reason),
  });
}

afterEach(() => {
  isOver = true;
  queue.close();
  for (const { socket } of started) socket.destroy();
  for (const client of clients) client.destroy();
  server.close();
});

async function open(): Promise<Socket> {
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  client.on("error", () => undefined);
  clients.push(client);
  await once(client, "connect");
  return client;
}

test("HelloQueue starts a few in each turn, whole and in order", async () => {
  const opened = await Promise.all(Array.from({ length: 40 }, open));
  for (const client of opened) client.write(HELLO);
  await expect.poll(() => started.length).toBe(40);
  const perTurn = new Map<number, number>();
  for (const one of started) perTurn.set(one.turn, (perTurn.get(one.turn) ?? 0) + 1);
  expect(Math.max(...perTurn.values())).toBeLessThanOrEqual(HELLOS_PER_TURN);
  for (const { socket } of started) expect(socket.read()).toEqual(HELLO);
  expect(givenUp).toEqual([]);
});

test("HelloQueue waits for a whole record, and not for what is none", async () => {
  const [slow, other] = [await open(), await open()];
  slow.write(HELLO.subarray(0, 4));
  other.write("GET / HTTP/1.1\r\n");
  await expect.poll(() => started.length).toBe(1);
  expect(String(started[0]!.socket.read())).toBe("GET / HTTP/1.1\r\n");
  slow.write(HELLO.subarray(4));
  await expect.poll(() => started.length).toBe(2);
  expect(started[1]!.socket.read()).toEqual(HELLO);
});

test("HelloQueue gives up on those who are silent, slow, or gone", async () => {
  queue = queueOf({ timeoutMs: 1000 });
  const [, slow, gone] = [await open(), await open(), await open()];
  slow.write(HELLO.subarray(0, 6));
  gone.end();
  await expect.poll(() => givenUp.length).toBe(3);
  expect(givenUp).toEqual(["EOF", "i/o timeout", "i/o timeout"]);
  await expect.poll(() => clients.filter(({ closed }) => closed).length).toBe(3);
  expect(started).toEqual([]);
});
