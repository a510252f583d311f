/**
 * The network between members: a relay in front of each member's peer port, which knows who dials
 * from the first request of a connection, and can stop what goes from one member to another.
 *
 * What is stopped vanishes without a refusal, as on a network that drops packets; when a link is
 * mended its connections break, for bytes are missing in them.
 */

import { Relay } from "./relay.ts";
import type { Passage } from "./relay.ts";

interface Connection extends Passage {
  readonly to: number;
  /** Who dialled, as its first request says: a member's id, which may be told to `ids` later. */
  senderID: string | undefined;
}

export class Links {
  readonly #relays: Relay<Connection>[] = [];
  readonly #stopped = new Set<string>();
  /** Member ids in hex, as the header of peers has them, to positions. */
  readonly ids = new Map<string, number>();

  /** @returns the port others dial to reach member `to` */
  async open(to: number, targetPort: number): Promise<number> {
    const relay = await Relay.listen<Connection>({
      targetPort,
      open: (dialer, target) => ({ to, dialer, target, senderID: undefined }),
      gate: (connection, direction, chunk) => {
        if (direction === "back") return !this.#isStopped(connection, to, this.#from(connection));
        connection.senderID ??= senderOf(chunk);
        return !this.#isStopped(connection, this.#from(connection), to);
      },
    });
    this.#relays.push(relay);
    return relay.port;
  }

  /** Nothing goes from one to the other any more. */
  stop(from: number, to: number): void {
    this.#stopped.add(`${from} ${to}`);
  }

  /** Nothing goes between the two. */
  cut(a: number, b: number): void {
    this.stop(a, b);
    this.stop(b, a);
  }

  mend(): void {
    const stopped = new Set(this.#stopped);
    this.#stopped.clear();
    for (const relay of this.#relays) {
      for (const connection of relay.passages) {
        const { to } = connection;
        const from = this.#from(connection);
        const isHit = stopped.has(`${from} ${to}`) || stopped.has(`${to} ${from}`);
        if (from === undefined || isHit) relay.cut(connection);
      }
    }
  }

  close(): void {
    for (const relay of this.#relays) relay.close();
  }

  #from({ senderID }: Connection): number | undefined {
    return senderID === undefined ? undefined : this.ids.get(senderID);
  }

  /** A connection of unknown origin is stopped with any of the links to its target. */
  #isStopped(connection: Connection, from: number | undefined, to: number | undefined): boolean {
    if (from !== undefined && to !== undefined) return this.#stopped.has(`${from} ${to}`);
    return [...this.#stopped].some((link) => link.split(" ").includes(String(connection.to)));
  }
}

function senderOf(chunk: Buffer): string | undefined {
  return /x-server-from: *([0-9a-f]+)/i.exec(chunk.toString("latin1"))?.[1];
}
