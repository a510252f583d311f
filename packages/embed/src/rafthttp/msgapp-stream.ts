/**
 * The stream of appends ("msgappv2"), which leaves out what both sides know.
 *
 * A frame is a type byte and:
 *   0  nothing: the link lives
 *   1  the number of entries, each entry behind its length, the commit index
 *   2  a message behind its length
 *
 * Invariants:
 * - Both sides keep `term` and `index` of the last append; a new connection starts at 0 and 0.
 * - A frame of type 1 continues exactly there: its entries follow `index`, and `term` is the term
 *   of the message and of the entry before. Every other append is sent as type 2.
 */

import { decodeMessage, EMPTY_BYTES, invariant } from "@etcd-ts/base";
import type { WireWriter } from "@etcd-ts/base";
import { EntryCodec, MessageCodec } from "@etcd-ts/raft";
import type { Entry, Message } from "@etcd-ts/raft";
import { ByteQueue } from "./byte-queue.ts";
import {
  beginCounted,
  decoding,
  encodeMessageFrame,
  endCounted,
  FrameError,
  isLinkHeartbeat,
  limitExceeded,
  LINK_HEARTBEAT,
  writeCounter,
} from "./frames.ts";
import type { DecodedMessage, StreamDecoder, StreamEncoder } from "./frames.ts";
import { STREAM_FRAME_BYTES_MAX } from "./limits.ts";

const FRAME_LINK_HEARTBEAT = 0;
const FRAME_ENTRIES = 1;
const FRAME_MESSAGE = 2;
const COUNTER_BYTES = 8;

const TYPE_BYTES = [0, 1, 2].map((type) => Uint8Array.of(type));

/** Where a stream of appends stands. */
class AppendState {
  term = 0;
  index = 0;

  follow(message: Message): void {
    this.term = message.term;
    this.index = message.entries.at(-1)?.index ?? message.index;
  }
}

export class MsgAppStreamEncoder implements StreamEncoder {
  readonly #state = new AppendState();

  encode(message: Message, writer: WireWriter): void {
    if (isLinkHeartbeat(message)) writer.raw(TYPE_BYTES[FRAME_LINK_HEARTBEAT]!);
    else if (this.#isContinued(message)) this.#encodeEntries(message, writer);
    else {
      writer.raw(TYPE_BYTES[FRAME_MESSAGE]!);
      encodeMessageFrame(message, writer);
      this.#state.follow(message);
    }
  }

  #isContinued({ type, index, logTerm, term }: Message): boolean {
    const state = this.#state;
    return type === "MsgApp" && state.index === index && state.term === logTerm && logTerm === term;
  }

  #encodeEntries(message: Message, writer: WireWriter): void {
    writer.raw(TYPE_BYTES[FRAME_ENTRIES]!);
    writeCounter(writer, message.entries.length);
    for (const entry of message.entries) {
      const at = beginCounted(writer);
      EntryCodec.encode(entry, writer);
      endCounted(writer, at);
      this.#state.index++;
    }
    writeCounter(writer, message.commit);
  }
}

/** What the decoder waits for next. */
type Expected =
  | { readonly kind: "type" }
  | { readonly kind: "messageLength" }
  | { readonly kind: "message"; readonly bytes: number }
  | { readonly kind: "count" }
  | { readonly kind: "entryLength" }
  | { readonly kind: "entry"; readonly bytes: number }
  | { readonly kind: "commit" };

const EXPECT_TYPE: Expected = { kind: "type" };

/** The frame of type 1 that is being read. */
interface OpenFrame {
  readonly logIndex: number;
  readonly entries: Entry[];
  entriesLeft: number;
  sizeBytes: number;
}

export class MsgAppStreamDecoder implements StreamDecoder {
  readonly #localID: bigint;
  readonly #remoteID: bigint;
  readonly #frameBytesMax: number;
  readonly #bytes = new ByteQueue();
  readonly #state = new AppendState();
  #expected: Expected = EXPECT_TYPE;
  #frame: OpenFrame | undefined;

  constructor(localID: bigint, remoteID: bigint, frameBytesMax: number = STREAM_FRAME_BYTES_MAX) {
    this.#localID = localID;
    this.#remoteID = remoteID;
    this.#frameBytesMax = frameBytesMax;
  }

  push(chunk: Uint8Array): void {
    this.#bytes.push(chunk);
  }

  next(): DecodedMessage | undefined {
    while (this.#bytes.length >= this.#neededBytes()) {
      const decoded = this.#step(this.#expected);
      if (decoded !== undefined) return decoded;
    }
    return undefined;
  }

  #neededBytes(): number {
    if (this.#expected.kind === "type") return 1;
    return "bytes" in this.#expected ? this.#expected.bytes : COUNTER_BYTES;
  }

  #step(expected: Expected): DecodedMessage | undefined {
    switch (expected.kind) {
      case "type":
        return this.#beginFrame(this.#bytes.takeByte());
      case "messageLength":
        this.#expected = { kind: "message", bytes: this.#takeLength(0) };
        return undefined;
      case "message":
        return this.#takeMessage(expected.bytes);
      case "count": {
        const entriesLeft = this.#bytes.takeCounter();
        // An entry takes at least its length.
        if (entriesLeft > this.#frameBytesMax / COUNTER_BYTES) throw limitExceeded();
        this.#frame = { logIndex: this.#state.index, entries: [], entriesLeft, sizeBytes: 0 };
        this.#expected = entriesLeft === 0 ? { kind: "commit" } : { kind: "entryLength" };
        return undefined;
      }
      case "entryLength":
        this.#expected = { kind: "entry", bytes: this.#takeLength(this.#openFrame().sizeBytes) };
        return undefined;
      case "entry":
        this.#takeEntry(expected.bytes);
        return undefined;
      default:
        return this.#endFrame(this.#bytes.takeCounter());
    }
  }

  #openFrame(): OpenFrame {
    const frame = this.#frame;
    invariant(frame !== undefined, () => "MsgAppStreamDecoder: no frame is open");
    return frame;
  }

  #beginFrame(type: number): DecodedMessage | undefined {
    if (type === FRAME_LINK_HEARTBEAT) return { message: LINK_HEARTBEAT, sizeBytes: 0 };
    if (type === FRAME_ENTRIES) this.#expected = { kind: "count" };
    else if (type === FRAME_MESSAGE) this.#expected = { kind: "messageLength" };
    else throw new FrameError(`failed to parse type ${type} in msgappv2 stream`);
    return undefined;
  }

  #takeLength(usedBytes: number): number {
    const bytes = this.#bytes.takeCounter();
    if (usedBytes + bytes > this.#frameBytesMax) throw limitExceeded();
    return bytes;
  }

  #takeMessage(sizeBytes: number): DecodedMessage {
    const bytes = this.#bytes.take(sizeBytes);
    const message = decoding(() => decodeMessage(MessageCodec, bytes));
    this.#state.follow(message);
    this.#expected = EXPECT_TYPE;
    return { message, sizeBytes };
  }

  #takeEntry(sizeBytes: number): void {
    const frame = this.#openFrame();
    const bytes = this.#bytes.take(sizeBytes);
    frame.entries.push(decoding(() => decodeMessage(EntryCodec, bytes)));
    frame.sizeBytes += sizeBytes + COUNTER_BYTES;
    frame.entriesLeft--;
    this.#state.index++;
    this.#expected = frame.entriesLeft === 0 ? { kind: "commit" } : { kind: "entryLength" };
  }

  #endFrame(commit: number): DecodedMessage {
    if (!Number.isFinite(commit)) throw new FrameError("proto: commit exceeds 2^53-1");
    const { entries, logIndex, sizeBytes } = this.#openFrame();
    const { term } = this.#state;
    this.#frame = undefined;
    this.#expected = EXPECT_TYPE;
    const message: Message = {
      type: "MsgApp",
      to: this.#localID,
      from: this.#remoteID,
      term,
      logTerm: term,
      index: logIndex,
      entries,
      commit,
      vote: 0n,
      snapshot: undefined,
      reject: false,
      rejectHint: 0,
      context: EMPTY_BYTES,
      responses: [],
    };
    return { message, sizeBytes };
  }
}
