/** A DNS server on loopback that knows SRV records, for tests of this package. */

import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";

export type Zone = { readonly [name: string]: readonly { host: string; port: number }[] };

const HEADER_BYTES = 12;
const TYPE_SRV = 33;
const CLASS_IN = 1;
const RESPONSE = 0x8180;
const NO_SUCH_NAME = 3;
/** The name of the question, which every answer repeats. */
const NAME_OF_QUESTION = 0xc000 | HEADER_BYTES;

export class DNSServer {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  static async start(zone: Zone): Promise<DNSServer> {
    const socket = createSocket("udp4");
    socket.on("message", (query, { address, port }) => {
      socket.send(answer(query, zone), port, address);
    });
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    return new DNSServer(socket);
  }

  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  stop(): Promise<void> {
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }
}

function answer(query: Buffer, zone: Zone): Buffer {
  const { name, endBytes } = questionOf(query);
  const type = query.readUInt16BE(endBytes);
  const records = type === TYPE_SRV ? zone[name.toLowerCase()] : undefined;
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  header.writeUInt16BE(RESPONSE | (records === undefined ? NO_SUCH_NAME : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records?.length ?? 0, 6);
  const question = query.subarray(HEADER_BYTES, endBytes + 4);
  return Buffer.concat([header, question, ...(records ?? []).map(encodeRecord)]);
}

function questionOf(query: Buffer): { name: string; endBytes: number } {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query[at]!; length > 0; length = query[at]!) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join("."), endBytes: at + 1 };
}

function encodeRecord({ host, port }: { host: string; port: number }): Buffer {
  const labels = host
    .split(".")
    .flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, "latin1")]);
  const target = Buffer.concat([...labels, Buffer.from([0])]);
  const fixed = Buffer.alloc(18);
  fixed.writeUInt16BE(NAME_OF_QUESTION, 0);
  fixed.writeUInt16BE(TYPE_SRV, 2);
  fixed.writeUInt16BE(CLASS_IN, 4);
  fixed.writeUInt32BE(60, 6);
  fixed.writeUInt16BE(6 + target.length, 10);
  // Priority and weight stay 0.
  fixed.writeUInt16BE(port, 16);
  return Buffer.concat([fixed, target]);
}
