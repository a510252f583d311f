/** Lines of standard input, as they come. */

export class LineReader {
  readonly #chunks = process.stdin[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  /** The next line without its end; undefined if the input ends before the line does. */
  async next(): Promise<string | undefined> {
    for (;;) {
      const end = this.#rest.indexOf(0x0a);
      if (end >= 0) {
        const line = this.#rest.toString("utf8", 0, end);
        this.#rest = this.#rest.subarray(end + 1);
        return line;
      }
      const chunk = await this.#chunks.next();
      if (chunk.done === true) return undefined;
      this.#rest = Buffer.concat([this.#rest, chunk.value]);
    }
  }
}

/** Everything of standard input. */
export async function readAll(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
