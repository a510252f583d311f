/**
 * What every `Network` keeps. The factory gives addresses to listen on (a port of 0 for TCP) and a
 * way to let the network work.
 */

import { afterEach, beforeEach, describe, expect, test } from "vitest";

import type { Connection, Listener, Network, NetworkAddress } from "../src/index.ts";
import { NetworkError } from "../src/index.ts";

export interface NetworkUnderTest {
  readonly network: Network;
  readonly address: NetworkAddress;
  /** Lets time pass until `isDone`; fails if it never is. */
  until(isDone: () => boolean): Promise<void>;
  /** Lets enough time pass for everything under way to arrive. */
  settle(): Promise<void>;
  cleanUp(): Promise<void>;
}

/** One end with all that happened to it. */
class End {
  readonly connection: Connection;
  received = 0;
  sum = 0;
  text = "";
  hasEnded = false;
  drains = 0;
  closes = 0;
  error: NetworkError | undefined = undefined;
  readonly order: string[] = [];

  constructor(connection: Connection) {
    this.connection = connection;
    connection.setHandlers({
      onData: (bytes) => {
        this.received += bytes.length;
        for (const byte of bytes) this.sum = (this.sum * 31 + byte) % 1_000_003;
        if (bytes.length < 1000) this.text += Buffer.from(bytes).toString("latin1");
        this.order.push("data");
      },
      onEnd: () => {
        this.hasEnded = true;
        this.order.push("end");
      },
      onDrain: () => {
        this.drains++;
      },
      onClose: (error) => {
        this.closes++;
        this.error = error;
        this.order.push("close");
      },
    });
  }

  send(text: string): boolean {
    return this.connection.write(Buffer.from(text, "latin1"));
  }
}

const TIMEOUT = { timeoutMs: 2000 };

export function testNetwork(name: string, create: () => Promise<NetworkUnderTest>): void {
  describe(name, () => {
    let subject: NetworkUnderTest;
    let listener: Listener;
    let accepted: End[];
    let dialled: End[];

    beforeEach(async () => {
      subject = await create();
      accepted = [];
      dialled = [];
      listener = await subject.network.listen(subject.address, (connection) => {
        accepted.push(new End(connection));
      });
    });

    afterEach(async () => {
      for (const end of [...accepted, ...dialled]) end.connection.destroy();
      await listener.close();
      await subject.settle();
      await subject.cleanUp();
    });

    async function dial(address: NetworkAddress): Promise<Connection> {
      const outcome: { connection?: Connection; error?: unknown } = {};
      subject.network.dial(address, TIMEOUT).then(
        (connection) => {
          dialled.push(new End(connection));
          outcome.connection = connection;
        },
        (error: unknown) => {
          outcome.error = error;
        },
      );
      await subject.until(() => outcome.connection !== undefined || outcome.error !== undefined);
      if (outcome.connection === undefined) throw outcome.error;
      return outcome.connection;
    }

    async function pair(): Promise<[near: End, far: End]> {
      await dial(listener.address);
      await subject.until(() => accepted.length === dialled.length);
      return [dialled[dialled.length - 1]!, accepted[accepted.length - 1]!];
    }

    async function dialError(address: NetworkAddress): Promise<NetworkError> {
      const error = await dial(address).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(NetworkError);
      return error as NetworkError;
    }

    test("listen() tells the port it chose", () => {
      if (listener.address.kind === "tcp") expect(listener.address.port).toBeGreaterThan(0);
      else expect(listener.address).toEqual(subject.address);
    });

    test("listen() refuses an address in use", async () => {
      const again = subject.network.listen(listener.address, () => {});
      await expect(again).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
    });

    test("bytes go both ways in order", async () => {
      const [near, far] = await pair();
      near.send("one ");
      near.send("two ");
      near.send("three");
      await subject.until(() => far.received === 13);
      far.send("four");
      await subject.until(() => near.received === 4);
      expect([far.text, near.text]).toEqual(["one two three", "four"]);
      expect([near.closes, far.closes]).toEqual([0, 0]);
    });

    test("end() sends what is queued and leaves the other direction open", async () => {
      const [near, far] = await pair();
      near.send("question");
      near.connection.end();
      await subject.until(() => far.hasEnded);
      expect(far.text).toBe("question");
      expect(near.closes + far.closes).toBe(0);
      far.send("answer");
      far.connection.end();
      await subject.until(() => near.closes === 1 && far.closes === 1);
      expect(near.text).toBe("answer");
      expect([near.error, far.error]).toEqual([undefined, undefined]);
      expect(near.order.slice(-2)).toEqual(["end", "close"]);
      expect(far.order.slice(-1)).toEqual(["close"]);
    });

    test("destroy() closes both ends, each once", async () => {
      const [near, far] = await pair();
      near.connection.destroy();
      near.connection.destroy();
      await subject.until(() => near.closes === 1);
      expect(near.error).toBeUndefined();
      // Some networks show a drop only as an end until something is written.
      await subject.until(() => far.closes === 1 || far.hasEnded);
      if (far.closes === 0) far.connection.end();
      await subject.until(() => far.closes === 1);
      await subject.settle();
      expect([near.closes, far.closes]).toEqual([1, 1]);
    });

    test("write() says stop when the peer does not read, and all arrives once it does", async () => {
      const [near, far] = await pair();
      far.connection.pause();
      const block = new Uint8Array(65_536).fill(7);
      let blocks = 0;
      while (near.connection.write(block) && blocks < 1000) {
        blocks++;
        await subject.settle();
      }
      blocks++;
      expect(blocks).toBeLessThan(1000);
      await subject.settle();
      const before = far.received;
      await subject.settle();
      expect(far.received).toBe(before);
      expect(near.drains).toBe(0);
      far.connection.resume();
      await subject.until(() => far.received === blocks * block.length);
      await subject.until(() => near.drains === 1);
      expect(near.connection.write(new Uint8Array(1))).toBe(true);
    });

    test("a mass of bytes in both directions arrives whole", async () => {
      const [near, far] = await pair();
      let sum = 0;
      for (let i = 0; i < 300; i++) {
        const block = new Uint8Array(1000 + i).map((_, j) => (i * j) & 0xff);
        for (const byte of block) sum = (sum * 31 + byte) % 1_000_003;
        near.connection.write(block);
        far.connection.write(block);
      }
      const total = 300 * 1000 + (299 * 300) / 2;
      await subject.until(() => far.received === total && near.received === total);
      expect([near.sum, far.sum]).toEqual([sum, sum]);
    });

    test("dial() is refused where nobody listens", async () => {
      const address = listener.address;
      await listener.close();
      await subject.settle();
      expect((await dialError(address)).code).toBe("REFUSED");
    });

    test("close() of a listener leaves connections alone", async () => {
      const [near, far] = await pair();
      await listener.close();
      await listener.close();
      near.send("still here");
      await subject.until(() => far.received === 10);
      expect(near.closes).toBe(0);
    });

    test("the address is free again after close()", async () => {
      const address = listener.address;
      await listener.close();
      await subject.settle();
      listener = await subject.network.listen(address, (connection) => {
        accepted.push(new End(connection));
      });
      const [near, far] = await pair();
      near.send("x");
      await subject.until(() => far.received === 1);
    });
  });
}
