/**
 * HPACK's string code: RFC 7541, section 5.2 and appendix B.
 *
 * The code is canonical: within a length, codes grow with their symbols; so the lengths are all
 * there is to write down. Decoding takes four bits at a step, which complete at most one symbol
 * since no code is shorter than five.
 */

/** Code lengths of the 256 byte values; the end-of-string symbol after them has 30 bits. */
const CODE_BITS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
  28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5,
  6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6,
  7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
  23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22,
  22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
  23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27,
  27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25,
  24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const END_OF_STRING = 256;
const END_OF_STRING_BITS = 30;
const SHORTEST_CODE_BITS = 5;
/** Padding must be shorter than a byte. */
const PADDING_BITS_MAX = 7;

/** A step's result: the next state, then these. */
const EMITS = 0x100;
const FAILS = 0x200;
const SYMBOL_SHIFT = 16;

interface HuffmanTables {
  readonly codes: Uint32Array;
  /** By state and the next four bits. */
  readonly steps: Uint32Array;
  /** Whether a string may end in this state. */
  readonly mayEnd: Uint8Array;
}

let tables: HuffmanTables | undefined;

function huffmanTables(): HuffmanTables {
  tables ??= buildTables();
  return tables;
}

function buildTables(): HuffmanTables {
  const codes = new Uint32Array(257);
  /** Two children a node: a node's number, or a symbol as its complement. */
  const children: [number, number][] = [[0, 0]];
  let code = 0;
  let bits = SHORTEST_CODE_BITS;
  for (; bits <= END_OF_STRING_BITS; bits++) {
    code *= 2;
    for (let symbol = 0; symbol <= END_OF_STRING; symbol++) {
      if ((CODE_BITS[symbol] ?? END_OF_STRING_BITS) !== bits) continue;
      codes[symbol] = code;
      addLeaf(children, code, bits, symbol);
      code++;
    }
  }
  const mayEnd = new Uint8Array(children.length);
  for (let node = 0, depth = 0; depth <= PADDING_BITS_MAX; depth++) {
    mayEnd[node] = 1;
    node = children[node]![1];
  }
  return { codes, steps: buildSteps(children), mayEnd };
}

function addLeaf(children: [number, number][], code: number, bits: number, symbol: number): void {
  let node = 0;
  for (let bit = bits - 1; bit > 0; bit--) {
    const side = (code >>> bit) & 1;
    let child = children[node]![side]!;
    if (child === 0) {
      child = children.push([0, 0]) - 1;
      children[node]![side as 0 | 1] = child;
    }
    node = child;
  }
  children[node]![(code & 1) as 0 | 1] = ~symbol;
}

function buildSteps(children: readonly [number, number][]): Uint32Array {
  const steps = new Uint32Array(children.length * 16);
  for (let state = 0; state < children.length; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = state;
      let result = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const child = children[node]![((nibble >>> bit) & 1) as 0 | 1];
        if (child >= 0) {
          node = child;
          continue;
        }
        node = 0;
        result |= ~child === END_OF_STRING ? FAILS : EMITS | (~child << SYMBOL_SHIFT);
      }
      steps[state * 16 + nibble] = result | node;
    }
  }
  return steps;
}

/** Bytes that `length` encoded bytes may decode to. */
export function huffmanDecodedBytesMax(length: number): number {
  return Math.floor((length * 8) / SHORTEST_CODE_BITS);
}

/**
 * Decodes `bytes[start, end)` into `target`, which has room for `huffmanDecodedBytesMax`.
 *
 * @returns the decoded length; -1 if the code is malformed
 */
export function huffmanDecode(
  bytes: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
): number {
  const { steps, mayEnd } = huffmanTables();
  let state = 0;
  let length = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    let step = steps[state * 16 + (byte >>> 4)]!;
    if ((step & EMITS) !== 0) target[length++] = step >>> SYMBOL_SHIFT;
    let failed = step & FAILS;
    step = steps[(step & 0xff) * 16 + (byte & 15)]!;
    if ((step & EMITS) !== 0) target[length++] = step >>> SYMBOL_SHIFT;
    failed |= step & FAILS;
    if (failed !== 0) return -1;
    state = step & 0xff;
  }
  return mayEnd[state] === 1 ? length : -1;
}

/** Encoded length of a latin-1 string. */
export function huffmanEncodedBytes(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += CODE_BITS[text.charCodeAt(i)]!;
  return Math.ceil(bits / 8);
}

/** Writes a latin-1 string at `at`. @returns the offset after it */
export function huffmanEncode(text: string, target: Uint8Array, at: number): number {
  const { codes } = huffmanTables();
  let pending = 0;
  let pendingBits = 0;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i);
    const code = codes[symbol]!;
    // At most 7 bits are pending and a code has 30, so it goes in by parts.
    for (let left = CODE_BITS[symbol]!; left > 0;) {
      const taken = Math.min(left, 8 - pendingBits);
      left -= taken;
      pending = (pending << taken) | ((code >>> left) & ((1 << taken) - 1));
      pendingBits += taken;
      if (pendingBits < 8) continue;
      target[at++] = pending;
      pending = 0;
      pendingBits = 0;
    }
  }
  if (pendingBits > 0) target[at++] = (pending << (8 - pendingBits)) | (0xff >>> pendingBits);
  return at;
}
