/** Input that is nearly right: bytes, HTTP/2, messages and JSON in the shape of a schema. Seeded. */

import { ScalarType } from "@bufbuild/protobuf";
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { randomBelow } from "@etcd-ts/base";
import type { Random } from "@etcd-ts/base";

import { frame, PREFACE, settings } from "../../../packages/rpc/compliance/h2-frames.ts";

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[randomBelow(random, from.length)]!;
}

export function bytesOf(random: Random, bytesMax: number): Buffer {
  const bytes = Buffer.alloc(randomBelow(random, bytesMax + 1));
  random.fill(bytes);
  return bytes;
}

/** Frames of every type, with lengths, flags and streams that seldom make sense. */
export function junkFrames(random: Random): Buffer {
  const parts = [PREFACE, ...(randomBelow(random, 4) > 0 ? [settings()] : [])];
  const count = 1 + randomBelow(random, 20);
  for (let i = 0; i < count; i++) {
    const type = randomBelow(random, 12);
    const stream = pick(random, [0, 1, 2, 3, 5, 0x7fff_ffff, 0xffff_ffff]);
    const one = frame(type, randomBelow(random, 256), stream, bytesOf(random, 64));
    if (randomBelow(random, 8) === 0) one.writeUIntBE(randomBelow(random, 1 << 24), 0, 3);
    parts.push(one);
  }
  return Buffer.concat(parts);
}

const EDGES = [
  0n,
  1n,
  127n,
  128n,
  1n << 31n,
  1n << 53n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
];

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

/** A message whose fields exist, with values at the edges, sometimes of another type, or cut. */
export function junkMessage(random: Random, message: DescMessage, depth = 0): Buffer {
  const parts: Buffer[] = [];
  const count = randomBelow(random, 6);
  for (let i = 0; i < count && message.fields.length > 0; i++) {
    const field = pick(random, message.fields);
    const isOdd = randomBelow(random, 10) === 0;
    const number = isOdd ? pick(random, [0, 1, 99, 536_870_911]) : field.number;
    if (isLength(field) !== isOdd) {
      const body =
        field.message !== undefined && depth < 12
          ? junkMessage(random, field.message, depth + 1)
          : bytesOf(random, 24);
      parts.push(varint(BigInt(number * 8 + 2)), varint(BigInt(body.length)), body);
    } else parts.push(varint(BigInt(number * 8)), varint(pick(random, EDGES)));
  }
  const whole = Buffer.concat(parts);
  return randomBelow(random, 8) === 0
    ? whole.subarray(0, randomBelow(random, whole.length + 1))
    : whole;
}

const LENGTH_SCALARS = new Set([ScalarType.STRING, ScalarType.BYTES]);

function isLength(field: DescField): boolean {
  if (field.message !== undefined || field.fieldKind === "list") return true;
  return field.fieldKind === "scalar" && LENGTH_SCALARS.has(field.scalar);
}

const SCALARS = [
  '""',
  '"a"',
  '"YQ=="',
  '"%"',
  "0",
  "-1",
  "1e400",
  "1.5",
  '"9223372036854775808"',
  '"x"',
  "null",
  "true",
  "[]",
  "{}",
  "[[[]]]",
  '{"a":{}}',
  '"\\ud800"',
  '"\\u0000"',
  "18446744073709551616",
  "01",
];

/** JSON with the names of the schema and values that fit now and then. */
export function junkJSON(random: Random, message: DescMessage, depth = 0): string {
  const fields: string[] = [];
  const count = randomBelow(random, 5);
  for (let i = 0; i < count && message.fields.length > 0; i++) {
    const field = pick(random, message.fields);
    const name =
      randomBelow(random, 10) === 0 ? "unknown" : pick(random, [field.name, field.jsonName]);
    const one =
      field.message !== undefined && depth < 8 && randomBelow(random, 4) > 0
        ? junkJSON(random, field.message, depth + 1)
        : pick(random, SCALARS);
    const isList = field.fieldKind === "list" && randomBelow(random, 4) > 0;
    fields.push(`${JSON.stringify(name)}:${isList ? `[${one},${one}]` : one}`);
  }
  const text = `{${fields.join(",")}}`;
  return randomBelow(random, 10) === 0 ? text.slice(0, randomBelow(random, text.length + 1)) : text;
}
