/**
 * What travels beside the messages of a call: names in lower case, each with values in order.
 *
 * Invariants:
 * - Names are stored in lower case; looking one up is not case-sensitive.
 * - The value of a `-bin` name is the decoded bytes as a latin-1 string, one character a byte; the
 *   base64 of the wire is the transport's business.
 */

import { bytesFromLatin1, latin1FromBytes } from "@etcd-ts/base";

/** Whether the values of `name` are bytes. */
export function isBinaryName(name: string): boolean {
  return name.endsWith("-bin");
}

export class Metadata {
  readonly #values = new Map<string, string[]>();

  /** Builds metadata of one value a name. */
  static of(values: { readonly [name: string]: string }): Metadata {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(values)) metadata.append(name, value);
    return metadata;
  }

  /** Number of names. */
  get size(): number {
    return this.#values.size;
  }

  has(name: string): boolean {
    return this.#values.has(lowered(name));
  }

  /** The first value. */
  get(name: string): string | undefined {
    return this.#values.get(lowered(name))?.[0];
  }

  /** All values in the order they arrived; empty if there are none. */
  getAll(name: string): readonly string[] {
    return this.#values.get(lowered(name)) ?? [];
  }

  /** The first value of a `-bin` name as bytes. */
  getBytes(name: string): Uint8Array | undefined {
    const value = this.get(name);
    return value === undefined ? undefined : bytesFromLatin1(value);
  }

  append(name: string, value: string): void {
    const key = name.toLowerCase();
    const values = this.#values.get(key);
    if (values === undefined) this.#values.set(key, [value]);
    else values.push(value);
  }

  appendBytes(name: string, value: Uint8Array): void {
    this.append(name, latin1FromBytes(value));
  }

  /** Replaces all values of `name`. */
  set(name: string, value: string): void {
    this.#values.set(name.toLowerCase(), [value]);
  }

  delete(name: string): void {
    this.#values.delete(name.toLowerCase());
  }

  entries(): IterableIterator<[string, readonly string[]]> {
    return this.#values.entries();
  }
}

/** Names are mostly asked for in lower case, and each call asks for some. */
function lowered(name: string): string {
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    if ((unit >= 0x41 && unit <= 0x5a) || unit > 0x7f) return name.toLowerCase();
  }
  return name;
}
