/**
 * The network between members: a proxy in front of each member's peer port, which knows who dials
 * from the first request of a connection, and can stop what goes from one member to another.
 *
 * What is stopped vanishes without a refusal, as on a network that drops packets; when a link is
 * mended its connections break, for bytes are missing in them.
 */

import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

interface Connection {
  readonly to: number;
  readonly dialer: Socket;
  readonly target: Socket;
  /** Who dialled, as its first request says: a member's id, which may be told to `ids` later. */
  senderID: string | undefined;
}

export class Links {
  readonly #servers: Server[] = [];
  readonly #connections = new Set<Connection>();
  readonly #stopped = new Set<string>();
  /** Member ids in hex, as the header of peers has them, to positions. */
  readonly ids = new Map<string, number>();

  /** @returns the port others dial to reach member `to` */
  async open(to: number, targetPort: number): Promise<number> {
    const server = createServer((dialer) => {
      const target = connect({ host: "127.0.0.1", port: targetPort });
      const connection: Connection = { to, dialer, target, senderID: undefined };
      this.#connections.add(connection);
      for (const socket of [dialer, target]) {
        socket.on("error", () => undefined);
        socket.on("close", () => this.#end(connection));
      }
      dialer.on("data", (chunk) => {
        connection.senderID ??= senderOf(chunk);
        if (!this.#isStopped(connection, this.#dialerOf(connection), to)) target.write(chunk);
      });
      target.on("data", (chunk) => {
        if (!this.#isStopped(connection, to, this.#dialerOf(connection))) dialer.write(chunk);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.#servers.push(server);
    return (server.address() as AddressInfo).port;
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
    for (const connection of this.#connections) {
      const { to } = connection;
      const from = this.#dialerOf(connection);
      const isHit = stopped.has(`${from} ${to}`) || stopped.has(`${to} ${from}`);
      if (from === undefined || isHit) this.#end(connection);
    }
  }

  close(): void {
    for (const connection of this.#connections) this.#end(connection);
    for (const server of this.#servers) server.close();
  }

  #dialerOf({ senderID }: Connection): number | undefined {
    return senderID === undefined ? undefined : this.ids.get(senderID);
  }

  /** A connection of unknown origin is stopped with any of the links to its target. */
  #isStopped(connection: Connection, from: number | undefined, to: number | undefined): boolean {
    if (from !== undefined && to !== undefined) return this.#stopped.has(`${from} ${to}`);
    return [...this.#stopped].some((link) => link.split(" ").includes(String(connection.to)));
  }

  #end(connection: Connection): void {
    this.#connections.delete(connection);
    connection.dialer.destroy();
    connection.target.destroy();
  }
}

function senderOf(chunk: Buffer): string | undefined {
  return /x-server-from: *([0-9a-f]+)/i.exec(chunk.toString("latin1"))?.[1];
}
