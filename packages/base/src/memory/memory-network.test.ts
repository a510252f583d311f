import { setImmediate as nextTurn } from "node:timers/promises";

import { expect, test } from "vitest";

import type { Connection, Network, NetworkAddress, NetworkError } from "../index.ts";
import { MemoryNetwork } from "./memory-network.ts";
import { VirtualClock } from "./virtual-clock.ts";

type End = {
  connection: Connection;
  received: number;
  error: NetworkError | undefined;
  closes: number;
};

function watch(connection: Connection): End {
  const end: End = { connection, received: 0, error: undefined, closes: 0 };
  connection.setHandlers({
    onData: (bytes) => (end.received += bytes.length),
    onEnd: () => {},
    onDrain: () => {},
    onClose: (error) => {
      end.closes++;
      end.error = error;
    },
  });
  return end;
}

const AT_B: NetworkAddress = { kind: "tcp", host: "b", port: 2380 };

async function connect(latencyMs = 0): Promise<{
  clock: VirtualClock;
  network: MemoryNetwork;
  a: Network;
  near: End;
  far: End;
}> {
  const clock = new VirtualClock({ settle: nextTurn });
  const network = new MemoryNetwork({ clock, latencyMs: () => latencyMs });
  const ends: End[] = [];
  await network.host("b").listen(AT_B, (connection) => ends.push(watch(connection)));
  const a = network.host("a");
  const near = watch(await clock.runUntil(a.dial(AT_B, { timeoutMs: 1000 })));
  return { clock, network, a, near, far: ends[0]! };
}

test("bytes take the time of their link", async () => {
  const { clock, near, far } = await connect(30);
  expect(clock.monotonicMs()).toBe(30);
  near.connection.write(new Uint8Array(5));
  await clock.advanceSettled(29);
  expect(far.received).toBe(0);
  await clock.advanceSettled(1);
  expect(far.received).toBe(5);
});

test("cut() holds bytes back and lets dials time out, heal() brings them", async () => {
  const { clock, network, a, near, far } = await connect();
  network.cut("b", "a");
  near.connection.write(new Uint8Array(5));
  await clock.advanceSettled(500);
  expect(far.received).toBe(0);
  const dial = a.dial(AT_B, { timeoutMs: 700 });
  const startedMs = clock.monotonicMs();
  await expect(clock.runUntil(dial)).rejects.toMatchObject({ code: "TIMED_OUT" });
  expect(clock.monotonicMs() - startedMs).toBe(700);
  const other = network.host("c").dial(AT_B, { timeoutMs: 700 });
  watch(await clock.runUntil(other)).connection.destroy();
  network.heal("a", "b");
  await clock.advanceSettled(1);
  expect(far.received).toBe(5);
});

test("what was written before a close arrives after a cut is healed", async () => {
  const { clock, network, near, far } = await connect();
  far.connection.end();
  await clock.advanceSettled(1);
  network.cut("a", "b");
  near.connection.write(new Uint8Array(7));
  near.connection.end();
  await clock.advanceSettled(1);
  network.healAll();
  await clock.advanceSettled(1);
  expect([far.received, far.closes, near.closes]).toEqual([7, 1, 1]);
});

test("reset() drops the connections of one pair of hosts", async () => {
  const { clock, network, near, far } = await connect();
  const other = watch(await clock.runUntil(network.host("c").dial(AT_B, { timeoutMs: 1 })));
  network.reset("a", "b");
  await clock.advanceSettled(1);
  expect([near.error?.code, far.error?.code, other.closes]).toEqual(["RESET", "RESET", 0]);
  expect(near.connection.write(new Uint8Array(1))).toBe(false);
});

test("crashHost() ends its listeners, and only its peers are told", async () => {
  const { clock, network, a, near, far } = await connect();
  network.crashHost("b");
  await clock.advanceSettled(1);
  expect([near.error?.code, near.closes, far.closes]).toEqual(["RESET", 1, 0]);
  await expect(clock.runUntil(a.dial(AT_B, { timeoutMs: 10 }))).rejects.toMatchObject({
    code: "REFUSED",
  });
});

test("refuse() turns dials away until accept()", async () => {
  const { clock, network, a } = await connect();
  network.refuse(AT_B);
  await expect(clock.runUntil(a.dial(AT_B, { timeoutMs: 10 }))).rejects.toMatchObject({
    code: "REFUSED",
  });
  network.accept(AT_B);
  watch(await clock.runUntil(a.dial(AT_B, { timeoutMs: 10 })));
});

test("a wildcard listener hears dials to every host name", async () => {
  const clock = new VirtualClock({ settle: nextTurn });
  const network = new MemoryNetwork({ clock });
  const ends: End[] = [];
  await network.listen({ kind: "tcp", host: "0.0.0.0", port: 1 }, (c) => ends.push(watch(c)));
  watch(await clock.runUntil(network.dial({ kind: "tcp", host: "x", port: 1 }, { timeoutMs: 1 })));
  expect(ends).toHaveLength(1);
});
