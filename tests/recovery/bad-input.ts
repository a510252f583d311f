/** What can be wrong with a snapshot file, and with an endpoint. */

import { createServer as createHTTPServer } from "node:http";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server as NetServer, Socket } from "node:net";

const PAGE_BYTES = 4096;
const PAGE_KIND = 8;
const PAGE_COUNT = 10;
const KIND_LEAF = 2;
const PAGE_HEADER = 16;
const ELEMENT = 16;
const CHECKSUM_BYTES = 32;

/**
 * What is wrong: the pages; one of the two meta pages, without which a file still opens; bytes that
 * only the checksum tells of; or nothing but that there is no checksum.
 */
export type Fault = "pages" | "meta" | "checksum" | "none";

export interface Damage {
  readonly bytes: Uint8Array;
  readonly fault: Fault;
}

/** A snapshot, damaged in every region of the file. */
export function damagesOf(snapshot: Uint8Array): { readonly [name: string]: Damage } {
  // Of a Buffer, `slice` would be the same bytes.
  const whole = new Uint8Array(snapshot);
  const flipped = (...positions: readonly number[]): Uint8Array => {
    const bytes = whole.slice();
    for (const at of positions) bytes[at]! ^= 0x10;
    return bytes;
  };
  const leaf = fullestLeaf(whole);
  const view = new DataView(whole.buffer, whole.byteOffset);
  // Of the first element: where its key begins, and how long key and value are.
  const element = leaf + PAGE_HEADER;
  const keyAt = element + view.getUint32(element + 4, true);
  const valueAt = keyAt + view.getUint32(element + 8, true);
  const valueBytes = view.getUint32(element + 12, true);
  const meta = PAGE_HEADER + 50;
  return {
    empty: { bytes: new Uint8Array(0), fault: "pages" },
    "cut to half": { bytes: whole.slice(0, whole.length >> 1), fault: "pages" },
    "cut by a byte": { bytes: whole.slice(0, -1), fault: "none" },
    "without its checksum": { bytes: whole.slice(0, -CHECKSUM_BYTES), fault: "none" },
    "of something else": { bytes: Buffer.from("text ".repeat(5000)), fault: "pages" },
    "with a flipped bit in the header of a page": {
      bytes: flipped(leaf + PAGE_KIND),
      fault: "pages",
    },
    "with a flipped bit in a meta page": { bytes: flipped(meta), fault: "meta" },
    "with a flipped bit in both meta pages": {
      bytes: flipped(meta, PAGE_BYTES + meta),
      fault: "pages",
    },
    "with a flipped bit in the place of a key": { bytes: flipped(element + 6), fault: "pages" },
    "with a flipped bit in a value": {
      bytes: flipped(valueAt + valueBytes - 1),
      fault: "checksum",
    },
    "with a flipped bit in its checksum": { bytes: flipped(whole.length - 3), fault: "checksum" },
  };
}

/** Where the leaf with the most elements begins. */
function fullestLeaf(image: Uint8Array): number {
  const view = new DataView(image.buffer, image.byteOffset);
  let best = 0;
  let most = 0;
  for (let at = 2 * PAGE_BYTES; at + PAGE_BYTES <= image.length; at += PAGE_BYTES) {
    const isPage = view.getBigUint64(at, true) === BigInt(at / PAGE_BYTES);
    const count = view.getUint16(at + PAGE_COUNT, true);
    if (!isPage || view.getUint16(at + PAGE_KIND, true) !== KIND_LEAF || count <= most) continue;
    if (count * ELEMENT > PAGE_BYTES) continue;
    best = at;
    most = count;
  }
  return best;
}

/** Endpoints that are not a member's, or a member's through something that fails. */
export class BadEndpoints {
  readonly #servers: NetServer[] = [];
  readonly #sockets = new Set<Socket>();

  /** Takes connections and never answers. */
  silent(): Promise<string> {
    return this.#listen(createServer((socket) => this.#keep(socket).resume()));
  }

  /** Serves HTTP/1.1, and knows nothing of etcd. */
  web(): Promise<string> {
    const server = createHTTPServer((_request, response) => {
      response.statusCode = 404;
      response.end("not found\n");
    });
    server.on("connection", (socket) => this.#keep(socket));
    return this.#listen(server);
  }

  /** Says something of its own and hangs up. */
  foreign(): Promise<string> {
    return this.#listen(createServer((socket) => this.#keep(socket).end("SSH-2.0-OpenSSH_9\r\n")));
  }

  /**
   * Leads to a member, until it has answered with so many bytes.
   *
   * @param how - `dies`: the connection is closed then; `stalls`: nothing more comes
   */
  halfDead(endpoint: string, bytes: number, how: "dies" | "stalls"): Promise<string> {
    const port = Number(endpoint.split(":")[1]);
    return this.#listen(
      createServer((socket) => {
        const upstream = this.#keep(connect(port, "127.0.0.1"));
        this.#keep(socket).pipe(upstream);
        let passed = 0;
        upstream.on("data", (chunk) => {
          passed += chunk.length;
          if (passed <= bytes) socket.write(chunk);
          else if (how === "stalls") upstream.pause();
          else {
            socket.destroy();
            upstream.destroy();
          }
        });
        socket.on("close", () => upstream.destroy());
        upstream.on("close", () => socket.destroy());
      }),
    );
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#servers.map((one) => new Promise((resolve) => one.close(resolve))));
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    // Whoever is on the other side may go at any time.
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
    return socket;
  }

  async #listen(server: NetServer): Promise<string> {
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
}

/** Commands that are asked of an endpoint, with what bounds their time. */
export const ENDPOINT_COMMANDS: readonly (readonly string[])[] = [
  ["snapshot", "save", "FILE"],
  ["get", "key"],
  ["endpoint", "health"],
  ["endpoint", "status"],
];
export const BOUNDED = ["--command-timeout=2s", "--dial-timeout=1s"];
