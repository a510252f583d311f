/** Just enough protobuf to write requests by hand and to look at answers without decoding them. */

function varint(value) {
  const bytes = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  bytes.push(value);
  return Buffer.from(bytes);
}

/** A field of bytes, a string or a message. */
export function field(number, ...parts) {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([varint(number * 8 + 2), varint(body.length), body]);
}

/** A field that holds a number or, as 1, a truth. */
export const count = (number, value) => Buffer.concat([varint(number * 8), varint(value)]);

/** Visits the fields of the message in `bytes[start, end)`; numbers come as `from`. */
export function scan(bytes, start, end, visit) {
  let at = start;
  const read = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < end) {
    const tag = read();
    const value = read();
    if ((tag & 7) === 0) visit(tag >> 3, value, value);
    else {
      visit(tag >> 3, at, at + value);
      at += value;
    }
  }
}

/** The store's revision, from a response whose header is field 1. */
export function revisionOf(bytes) {
  let revision = 0;
  scan(bytes, 0, bytes.length, (number, from, to) => {
    if (number !== 1) return;
    scan(bytes, from, to, (inner, value) => {
      if (inner === 3) revision = value;
    });
  });
  return revision;
}
