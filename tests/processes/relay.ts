/**
 * Stands between those who dial and a member, so that a test can cut connections, let them hang, or
 * decide of everything that comes whether it goes on.
 */

import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

/** One connection through a relay. */
export interface Passage {
  readonly dialer: Socket;
  readonly target: Socket;
}

/** Whether a chunk goes on: `there`, to the target, or `back`. */
export type Gate<P extends Passage> = (
  passage: P,
  direction: "there" | "back",
  chunk: Buffer,
) => boolean;

export interface RelayOptions<P extends Passage> {
  readonly targetPort: number;
  readonly open: (dialer: Socket, target: Socket) => P;
  readonly gate: Gate<P>;
}

export class Relay<P extends Passage = Passage> {
  readonly passages = new Set<P>();
  readonly #server: Server;

  private constructor(options: RelayOptions<P>) {
    const { targetPort, open, gate } = options;
    this.#server = createServer((dialer) => {
      const target = connect({ host: "127.0.0.1", port: targetPort });
      const passage = open(dialer, target);
      this.passages.add(passage);
      for (const socket of [dialer, target]) {
        // Whoever is on the other side may go at any time.
        socket.on("error", () => undefined);
        socket.on("close", () => this.cut(passage));
      }
      dialer.on("data", (chunk: Buffer) => {
        if (gate(passage, "there", chunk)) target.write(chunk);
      });
      target.on("data", (chunk: Buffer) => {
        if (gate(passage, "back", chunk)) dialer.write(chunk);
      });
    });
  }

  static async listen<P extends Passage>(options: RelayOptions<P>): Promise<Relay<P>> {
    const relay = new Relay(options);
    await new Promise<void>((resolve) => relay.#server.listen(0, "127.0.0.1", () => resolve()));
    return relay;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Ends one connection, or all. */
  cut(...passages: readonly P[]): void {
    for (const passage of passages.length > 0 ? passages : this.passages) {
      this.passages.delete(passage);
      passage.dialer.destroy();
      passage.target.destroy();
    }
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}

/** A relay to a member's client port whose connections are cut, or hang, all at once. */
export class Proxy {
  readonly endpoint: string;
  readonly #relay: Relay;
  readonly #state: { isHanging: boolean };

  private constructor(relay: Relay, state: { isHanging: boolean }) {
    this.#relay = relay;
    this.#state = state;
    this.endpoint = `127.0.0.1:${relay.port}`;
  }

  /** @param target - a URL, or an address with a port */
  static async listen(target: string): Promise<Proxy> {
    const state = { isHanging: false };
    const relay = await Relay.listen({
      targetPort: Number(/:(\d+)\/?$/.exec(target)?.[1]),
      open: (dialer, target): Passage => ({ dialer, target }),
      gate: () => !state.isHanging,
    });
    return new Proxy(relay, state);
  }

  /** Drops what comes from now on, with connections open: a peer that is gone without a word. */
  hang(): void {
    this.#state.isHanging = true;
  }

  cut(): void {
    this.#relay.cut();
  }

  close(): void {
    this.#relay.close();
  }
}
