/**
 * JSON as the gateway reads it: strictly, and without loss of digits.
 *
 * Differs from `JSON.parse` in that a name given twice is refused, integers too long for a number
 * become strings (the JSON mapping of protobuf takes 64-bit values as either), nesting is bounded,
 * and what is wrong is said in the words of Go's encoding/json, which clients of etcd know.
 */

import type { JsonValue } from "@bufbuild/protobuf";

/** Deeper texts are refused; well above any transaction a codec takes. */
const DEPTH_MAX = 1_000;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
/** Characters of a string up to the next quote, escape or control character. */
const PLAIN = /[ !#-[\]-\uffff]*/y;
const ESCAPES: { readonly [letter: string]: string } = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/** @throws {SyntaxError} */
export function parseJson(text: string): JsonValue {
  const parser = new Parser(text);
  const value = parser.value(0);
  parser.end();
  return value;
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): JsonValue {
    this.#space();
    const character = this.#text[this.#at];
    switch (character) {
      case "{":
        return this.#object(depth);
      case "[":
        return this.#array(depth);
      case '"':
        return this.#string();
      case "t":
        return this.#literal("true", true);
      case "f":
        return this.#literal("false", false);
      case "n":
        return this.#literal("null", null);
      default:
        return this.#number();
    }
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) throw this.#unexpected("after top-level value");
  }

  #object(depth: number): JsonValue {
    this.#enter(depth);
    const object: { [name: string]: JsonValue } = {};
    const names = new Set<string>();
    this.#space();
    if (this.#take("}")) return object;
    for (;;) {
      this.#space();
      if (this.#text[this.#at] !== '"') {
        throw this.#unexpected("looking for beginning of object key string");
      }
      const name = this.#string();
      this.#space();
      if (!this.#take(":")) throw this.#unexpected("after object key");
      if (names.has(name)) throw new SyntaxError(`proto: duplicate field ${JSON.stringify(name)}`);
      names.add(name);
      // A plain assignment would lose the name `__proto__`, which is then no unknown field.
      const value = this.value(depth + 1);
      if (name !== "__proto__") object[name] = value;
      this.#space();
      if (this.#take("}")) return object;
      if (!this.#take(",")) throw this.#unexpected("after object key:value pair");
    }
  }

  #array(depth: number): JsonValue {
    this.#enter(depth);
    const array: JsonValue[] = [];
    this.#space();
    if (this.#take("]")) return array;
    for (;;) {
      array.push(this.value(depth + 1));
      this.#space();
      if (this.#take("]")) return array;
      if (!this.#take(",")) throw this.#unexpected("after array element");
    }
  }

  #enter(depth: number): void {
    if (depth >= DEPTH_MAX) throw new SyntaxError("exceeded max depth");
    this.#at++;
  }

  #string(): string {
    let value = "";
    this.#at++;
    for (;;) {
      PLAIN.lastIndex = this.#at;
      const plain = PLAIN.exec(this.#text)![0];
      value += plain;
      this.#at += plain.length;
      if (this.#take('"')) return value;
      if (!this.#take("\\")) throw this.#unexpected("in string literal");
      value += this.#escape();
    }
  }

  #escape(): string {
    const letter = this.#text[this.#at] ?? "";
    const plain = ESCAPES[letter];
    if (plain !== undefined) {
      this.#at++;
      return plain;
    }
    if (letter !== "u") throw this.#unexpected("in string escape code");
    this.#at++;
    const start = this.#at;
    while (this.#at < start + 4) {
      if (!/[0-9a-fA-F]/.test(this.#text[this.#at] ?? "")) {
        throw this.#unexpected("in \\u hexadecimal character escape");
      }
      this.#at++;
    }
    return String.fromCharCode(parseInt(this.#text.slice(start, this.#at), 16));
  }

  #literal<T>(word: string, value: T): T {
    for (const letter of word) {
      if (!this.#take(letter)) {
        throw this.#unexpected(`in literal ${word} (expecting '${letter}')`);
      }
    }
    return value;
  }

  #number(): JsonValue {
    NUMBER.lastIndex = this.#at;
    const digits = NUMBER.exec(this.#text)?.[0];
    if (digits === undefined) {
      if (this.#take("-")) throw this.#unexpected("in numeric literal");
      throw this.#unexpected("looking for beginning of value");
    }
    this.#at += digits.length;
    const number = Number(digits);
    return /^-?\d+$/.test(digits) && !Number.isSafeInteger(number) ? digits : number;
  }

  #space(): void {
    while (/[ \t\r\n]/.test(this.#text[this.#at] ?? "")) this.#at++;
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #unexpected(where: string): SyntaxError {
    const character = this.#text[this.#at];
    if (character === undefined) return new SyntaxError("unexpected EOF");
    return new SyntaxError(`invalid character ${quoteCharacter(character)} ${where}`);
  }
}

/** As Go quotes a character in its messages. */
export function quoteCharacter(character: string): string {
  if (character === "'") return String.raw`'\''`;
  if (character === '"') return `'"'`;
  return `'${JSON.stringify(character).slice(1, -1)}'`;
}
