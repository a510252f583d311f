/**
 * JSON as it arrives, cut into top-level objects.
 *
 * Invariants:
 * - Cutting the bytes anywhere gives the same objects in the same order.
 * - What is held never exceeds the maximum; an object that would is refused.
 * - So is an object that would take longer to read than its size tells: one of very many values or
 *   escapes, or with a number of very many digits.
 */

import { EtcdError } from "@etcd-ts/base";

import { quoteCharacter } from "./json-value.ts";

/** Text that is no sequence of JSON objects. */
export class JsonTextError extends EtcdError {
  readonly code: "MALFORMED" | "TOO_LARGE";

  constructor(code: "MALFORMED" | "TOO_LARGE", message: string) {
    super(message);
    this.code = code;
  }
}

/** Values, names and escapes of one object; a transaction of thousands of operations has fewer. */
export const JSON_PIECES_MAX = 100_000;
/** Of a number or another word outside of strings. */
export const JSON_WORD_BYTES_MAX = 1_000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** Cuts a stream of bytes into the JSON objects written one after another in it. */
export class JsonObjectSplitter {
  readonly #objectBytesMax: number;
  #parts: Uint8Array[] = [];
  #heldBytes = 0;
  #depth = 0;
  #pieces = 0;
  #wordBytes = 0;
  #inString = false;
  #escaped = false;

  constructor(objectBytesMax: number) {
    this.#objectBytesMax = objectBytesMax;
  }

  /** Of an object that is not complete. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Whether the bytes so far end inside an object. */
  get isPartial(): boolean {
    return this.#depth > 0;
  }

  /**
   * Takes the next bytes.
   *
   * @param take - called for each object that is complete; false stops: the rest is dropped
   * @throws {JsonTextError}
   */
  push(chunk: Uint8Array, take: (object: Uint8Array) => boolean): void {
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!;
      if (this.#depth === 0) {
        if (isSpace(byte)) {
          start = i + 1;
          continue;
        }
        if (byte !== OPEN_BRACE) throw malformed(byte);
        start = i;
        this.#depth = 1;
        this.#pieces = 0;
        continue;
      }
      this.#advance(byte);
      if (this.#depth > 0) continue;
      this.#hold(chunk.subarray(start, i + 1));
      start = i + 1;
      if (!take(this.#release())) return;
    }
    if (this.#depth > 0) this.#hold(chunk.slice(start));
  }

  #advance(byte: number): void {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) {
        this.#escaped = true;
        this.#countPiece();
      } else if (byte === QUOTE) this.#inString = false;
      return;
    }
    if (byte === QUOTE) this.#inString = true;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      this.#depth++;
      this.#countPiece();
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) this.#depth--;
    else if (byte === COMMA) this.#countPiece();
    else if (!isSpace(byte)) {
      if (++this.#wordBytes <= JSON_WORD_BYTES_MAX) return;
      throw new JsonTextError("MALFORMED", "proto: syntax error: a value of too many characters");
    }
    this.#wordBytes = 0;
  }

  #countPiece(): void {
    if (++this.#pieces <= JSON_PIECES_MAX) return;
    const text = `request body of more than ${JSON_PIECES_MAX} values and escapes`;
    throw new JsonTextError("TOO_LARGE", text);
  }

  #hold(part: Uint8Array): void {
    this.#heldBytes += part.length;
    if (this.#heldBytes > this.#objectBytesMax) {
      const text = `request body larger than max (${this.#objectBytesMax} bytes)`;
      throw new JsonTextError("TOO_LARGE", text);
    }
    this.#parts.push(part);
  }

  #release(): Uint8Array {
    const object = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#heldBytes = 0;
    return object;
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Another value than an object is fine JSON, but no message. */
function malformed(byte: number): JsonTextError {
  const character = String.fromCharCode(byte);
  return new JsonTextError(
    "MALFORMED",
    /[["\d\-tfn]/.test(character)
      ? `proto: syntax error (line 1:1): unexpected token ${character}`
      : `invalid character ${quoteCharacter(character)} looking for beginning of value`,
  );
}
