/**
 * A client's end of HTTP/2 that costs little, for what it takes of two cores the server lacks:
 * requests are bytes made beforehand, header blocks of answers are not decoded, answers are handed
 * over only if somebody looks at them. An answer that carries no message counts as a failure, which
 * is how gRPC tells errors.
 */
import { connect } from "node:net";

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;
const WINDOW_MAX = 0x7f_ff_ff_ff;
const DEFAULT_WINDOW = 65_535;
const SETTING_INITIAL_WINDOW = 4;
/** A longer message is sent as far as windows are open, of the connection and of its stream. */
const WHOLE_BYTES_MAX = 32_768;
/** What every server takes in one frame. */
const FRAME_BYTES = 16_384;
const OUTPUT_BYTES = 1 << 18;
const OUTPUT_LEFT_BYTES = 1 << 12;
/** The connection's window is opened again when this much has come. */
const WINDOW_STEP = 1 << 24;
/** Up to here a loop is faster than a call of `copy`. */
const LOOP_BYTES_MAX = 96;
const MESSAGE = Buffer.alloc(0);

/** Open streams by id: they come in order, and few are open, so their numbers modulo a size differ. */
class Streams {
  #slots = new Array(64).fill(undefined);

  get(id) {
    const found = this.#slots[(id >>> 1) & (this.#slots.length - 1)];
    return found?.id === id ? found : undefined;
  }

  add(stream) {
    let at = (stream.id >>> 1) & (this.#slots.length - 1);
    while (this.#slots[at] !== undefined) {
      this.#grow();
      at = (stream.id >>> 1) & (this.#slots.length - 1);
    }
    this.#slots[at] = stream;
  }

  delete(id) {
    this.#slots[(id >>> 1) & (this.#slots.length - 1)] = undefined;
  }

  #grow() {
    const open = this.#slots.filter((stream) => stream !== undefined);
    this.#slots = new Array(this.#slots.length * 2).fill(undefined);
    for (const stream of open) this.#slots[(stream.id >>> 1) & (this.#slots.length - 1)] = stream;
  }
}

function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(stream, 5);
  payload.copy(bytes, 9);
  return bytes;
}

function uint32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A gRPC message, ready to be a DATA frame's payload. */
export function message(...parts) {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([0]), uint32(body.length), body]);
}

export class Connection {
  #socket;
  #authority;
  #token;
  /** Handed over whole at each flush, so that it is never written again. */
  #out = Buffer.allocUnsafe(OUTPUT_BYTES);
  #outBytes = 0;
  #blocks = new Map();
  #rest;
  #streams = new Streams();
  #nextStream = 1;
  #inserted = 0;
  #table = new Map();
  #sendWindow = DEFAULT_WINDOW;
  #received = 0;
  #waiting = [];
  /** What a stream of the server's takes at first. */
  #streamWindow = DEFAULT_WINDOW;
  /** Long messages on their way, the oldest first. */
  #uploads = [];
  #isFlushing = false;
  #isReading = false;
  /** When the answers at hand came. */
  nowMs = 0;
  /** Called when the connection is of no more use. */
  closed = () => {};

  /** Opens a connection to `http://host:port`; each call on it carries the token. */
  static open(url, { token } = {}) {
    const { hostname, port, host } = new URL(url);
    const connection = new Connection();
    connection.#authority = host;
    connection.#token = token;
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    connection.#socket = socket;
    const settings = Buffer.from([0, 2, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
    socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    socket.write(frame(SETTINGS, 0, 0, settings));
    socket.write(frame(WINDOW_UPDATE, 0, 0, uint32(WINDOW_MAX - DEFAULT_WINDOW)));
    socket.on("data", (chunk) => connection.#read(chunk));
    socket.on("error", () => {});
    socket.on("close", () => connection.closed());
    return new Promise((resolve, reject) => {
      socket.once("connect", () => resolve(connection));
      socket.once("error", reject);
    });
  }

  /**
   * Sends a call of one message; `done` gets the answer's message (valid until it returns), or
   * undefined if it failed. Unless `isLookedAt`, any message is an empty one.
   */
  unary(path, payload, done, isLookedAt = true) {
    if (payload.length > WHOLE_BYTES_MAX) {
      const id = this.#begin(path);
      this.#streams.add({ id, done, parts: undefined, isStream: false, isLookedAt });
      this.#uploads.push({ id, payload, at: 0, window: this.#streamWindow });
      this.#upload();
      this.#flushSoon();
      return;
    }
    if (this.#waiting.length > 0 || payload.length > this.#sendWindow) {
      const send = () => this.#unary(path, payload, done, isLookedAt);
      this.#waiting.push({ bytes: payload.length, send });
      return;
    }
    this.#sendWindow -= payload.length;
    this.#unary(path, payload, done, isLookedAt);
    this.#flushSoon();
  }

  #unary(path, payload, done, isLookedAt) {
    const id = this.#begin(path);
    this.#streams.add({ id, done, parts: undefined, isStream: false, isLookedAt });
    this.#message(id, END_STREAM, payload);
  }

  /** Begins a call of many messages; `received` gets each. Returns a function that sends one. */
  stream(path, received, ended = () => {}) {
    const id = this.#begin(path);
    this.#streams.add({ id, done: received, ended, parts: undefined, isStream: true });
    this.#flushSoon();
    return (payload, isLast = false) =>
      this.#post(payload, () => this.#message(id, isLast ? END_STREAM : 0, payload));
  }

  close() {
    this.#socket.destroy();
  }

  /** Sends when the connection's window has room; streams' own windows are never so full. */
  #post(payload, send) {
    if (this.#waiting.length > 0 || payload.length > this.#sendWindow) {
      this.#waiting.push({ bytes: payload.length, send });
      return;
    }
    this.#sendWindow -= payload.length;
    send();
    this.#flushSoon();
  }

  /** Sends of long messages what the windows let through. */
  #upload() {
    for (const one of this.#uploads) {
      const { id, payload } = one;
      while (one.at < payload.length) {
        const room = Math.min(FRAME_BYTES, one.window, this.#sendWindow);
        if (room <= 0) break;
        const to = Math.min(payload.length, one.at + room);
        this.#put(DATA, to === payload.length ? END_STREAM : 0, id, payload, one.at, to);
        one.window -= to - one.at;
        this.#sendWindow -= to - one.at;
        one.at = to;
      }
    }
    this.#uploads = this.#uploads.filter(({ at, payload }) => at < payload.length);
  }

  /** Of the server's settings only one matters. */
  #settings(bytes, from, to) {
    for (let at = from; at + 6 <= to; at += 6) {
      if (bytes.readUInt16BE(at) !== SETTING_INITIAL_WINDOW) continue;
      const window = bytes.readUInt32BE(at + 2);
      for (const one of this.#uploads) one.window += window - this.#streamWindow;
      this.#streamWindow = window;
    }
    this.#put(SETTINGS, ACK, 0, bytes, from, from);
    this.#upload();
  }

  #message(id, flags, payload) {
    let at = 0;
    for (; payload.length - at > FRAME_BYTES; at += FRAME_BYTES) {
      this.#put(DATA, 0, id, payload, at, at + FRAME_BYTES);
    }
    this.#put(DATA, flags, id, payload, at, payload.length);
  }

  /** Writes a frame into the output. */
  #put(type, flags, id, payload, from, to) {
    const length = to - from;
    if (this.#out.length - this.#outBytes < 9 + length) {
      const larger = Buffer.allocUnsafe((this.#outBytes + 9 + length) * 2);
      this.#out.copy(larger, 0, 0, this.#outBytes);
      this.#out = larger;
    }
    const out = this.#out;
    const at = this.#outBytes;
    out[at] = length >> 16;
    out[at + 1] = length >> 8;
    out[at + 2] = length;
    out[at + 3] = type;
    out[at + 4] = flags;
    out[at + 5] = id >>> 24;
    out[at + 6] = id >>> 16;
    out[at + 7] = id >>> 8;
    out[at + 8] = id;
    if (length > LOOP_BYTES_MAX) payload.copy(out, at + 9, from, to);
    else for (let i = from; i < to; i++) out[at + 9 + i - from] = payload[i];
    this.#outBytes = at + 9 + length;
  }

  #begin(path) {
    const id = this.#nextStream;
    this.#nextStream += 2;
    const known = this.#blocks.get(path);
    const block = known?.inserted === this.#inserted ? known.block : this.#block(path);
    this.#put(HEADERS, END_HEADERS, id, block, 0, block.length);
    return id;
  }

  /** A header block; kept once it is made of indices alone, until those move. */
  #block(path) {
    const before = this.#inserted;
    const block = Buffer.concat([
      Buffer.from([0x83, 0x86]),
      this.#field(0x44, undefined, path),
      this.#field(0x41, undefined, this.#authority),
      this.#field(0x40, "te", "trailers"),
      this.#field(0x40, "content-type", "application/grpc"),
      ...(this.#token === undefined ? [] : [this.#field(0x40, "token", this.#token)]),
    ]);
    if (before === this.#inserted) this.#blocks.set(path, { inserted: before, block });
    return block;
  }

  /** A header field: in full the first time, as an index into the table afterwards. */
  #field(code, name, value) {
    const key = `${code} ${name} ${value}`;
    const known = this.#table.get(key);
    if (known !== undefined) return Buffer.from([0x80 | (61 + this.#inserted - known)]);
    this.#table.set(key, this.#inserted++);
    const text = (string) => [Buffer.from([string.length]), Buffer.from(string)];
    const parts = [Buffer.from([code]), ...(name === undefined ? [] : text(name)), ...text(value)];
    return Buffer.concat(parts);
  }

  #flushSoon() {
    if (this.#isFlushing || this.#isReading) return;
    this.#isFlushing = true;
    setImmediate(() => this.#flush());
  }

  #flush() {
    this.#isFlushing = false;
    if (this.#outBytes === 0) return;
    this.#socket.write(this.#out.subarray(0, this.#outBytes));
    const rest = this.#out.subarray(this.#outBytes);
    this.#out = rest.length >= OUTPUT_LEFT_BYTES ? rest : Buffer.allocUnsafe(OUTPUT_BYTES);
    this.#outBytes = 0;
  }

  #read(chunk) {
    this.#isReading = true;
    this.nowMs = performance.now();
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (bytes.length - at >= 9) {
      const length = (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
      if (bytes.length - at < 9 + length) break;
      const from = at + 9;
      at = from + length;
      const id =
        (bytes[from - 4] << 24) |
        (bytes[from - 3] << 16) |
        (bytes[from - 2] << 8) |
        bytes[from - 1];
      this.#frame(bytes[from - 6], bytes[from - 5], id, bytes, from, at);
    }
    this.#rest = at === bytes.length ? undefined : bytes.subarray(at);
    this.#isReading = false;
    this.#flush();
  }

  #frame(type, flags, id, bytes, from, to) {
    if (type === DATA) this.#data(id, flags, bytes, from, to);
    else if (type === HEADERS) {
      if ((flags & END_STREAM) !== 0) this.#end(id);
    } else if (type === RST_STREAM) this.#end(id);
    else if (type === WINDOW_UPDATE) this.#widen(id, bytes.readUInt32BE(from));
    else if (type === SETTINGS && flags !== ACK) this.#settings(bytes, from, to);
    else if (type === PING && flags !== ACK) {
      this.#put(PING, ACK, 0, bytes, from, to);
    } else if (type === GOAWAY && bytes.readUInt32BE(from + 4) !== 0) this.close();
  }

  #widen(id, by) {
    if (id === 0) this.#sendWindow += by;
    else if (this.#uploads.length > 0) {
      const upload = this.#uploads.find((one) => one.id === id);
      if (upload !== undefined) upload.window += by;
    }
    if (this.#uploads.length > 0) this.#upload();
    if (id === 0) this.#drain();
  }

  #drain() {
    while (this.#waiting.length > 0 && this.#waiting[0].bytes <= this.#sendWindow) {
      const { bytes, send } = this.#waiting.shift();
      this.#sendWindow -= bytes;
      send();
    }
  }

  #data(id, flags, bytes, from, to) {
    this.#received += to - from;
    if (this.#received >= WINDOW_STEP) {
      this.#put(WINDOW_UPDATE, 0, 0, uint32(this.#received), 0, 4);
      this.#received = 0;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (!stream.isStream && !stream.isLookedAt) {
      if (to > from) stream.parts = MESSAGE;
    } else if (!stream.isStream) {
      stream.parts ??= [];
      stream.parts.push(bytes.subarray(from, to));
    } else this.#messages(stream, bytes.subarray(from, to));
    if ((flags & END_STREAM) !== 0) this.#end(id);
  }

  #messages(stream, piece) {
    let bytes = piece;
    if (stream.parts !== undefined) {
      stream.parts.push(piece);
      stream.held += piece.length;
      if (stream.held < stream.wanted) return;
      bytes = Buffer.concat(stream.parts);
      stream.parts = undefined;
    }
    let at = 0;
    while (bytes.length - at >= 5) {
      const length = bytes.readUInt32BE(at + 1);
      if (bytes.length - at < 5 + length) break;
      stream.done(bytes.subarray(at + 5, at + 5 + length));
      at += 5 + length;
    }
    const held = bytes.length - at;
    if (held === 0) return;
    stream.parts = [bytes.subarray(at)];
    stream.held = held;
    stream.wanted = held >= 5 ? 5 + bytes.readUInt32BE(at + 1) : 5;
  }

  #end(id) {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#streams.delete(id);
    if (stream.isStream) stream.ended();
    else if (!stream.isLookedAt) stream.done(stream.parts);
    else if (stream.parts === undefined) stream.done(undefined);
    else {
      const { parts } = stream;
      stream.done((parts.length === 1 ? parts[0] : Buffer.concat(parts)).subarray(5));
    }
  }
}
