/**
 * The protobuf layout of the Raft messages (package `raftpb`, proto2).
 *
 * Invariants:
 * - Fields are written in field-number order. Scalars and nested messages that gogoproto marks
 *   non-nullable are written even when zero, at any depth; byte strings only when not empty.
 *   The WAL's checksums and the peers of 3.6 rest on that layout.
 * - Decoded byte strings are views of the input; who keeps one keeps the whole buffer.
 */

import type { Codec, WireReader, WireWriter } from "@etcd-ts/base";
import { EMPTY_BYTES, varintLength, WIRE_BYTES, WIRE_VARINT, WireFormatError } from "@etcd-ts/base";
import type {
  ConfChange,
  ConfChangeSingle,
  ConfChangeV2,
  ConfState,
  Entry,
  HardState,
  Message,
  Snapshot,
  SnapshotMetadata,
} from "./types.ts";
import {
  CONF_CHANGE_TRANSITIONS,
  CONF_CHANGE_TYPES,
  EMPTY_CONF_STATE,
  EMPTY_SNAPSHOT,
  ENTRY_TYPES,
  MESSAGE_TYPES,
} from "./types.ts";

/** Numbers on the wire by name; the inverse of the lists in `types.ts`. */
const ENTRY_TYPE_NUMBERS = numbersOf(ENTRY_TYPES);
const MESSAGE_TYPE_NUMBERS = numbersOf(MESSAGE_TYPES);
const CONF_CHANGE_TYPE_NUMBERS = numbersOf(CONF_CHANGE_TYPES);
const CONF_CHANGE_TRANSITION_NUMBERS = numbersOf(CONF_CHANGE_TRANSITIONS);

/** Responses inside responses that a decoder follows; real ones are one deep. */
const RESPONSE_DEPTH_MAX = 16;

function numbersOf<T extends string>(names: readonly T[]): ReadonlyMap<T, number> {
  return new Map(names.map((name, number) => [name, number]));
}

function readEnum<T extends string>(reader: WireReader, names: readonly T[], what: string): T {
  const number = reader.int32();
  const name = names[number];
  if (name === undefined) throw new WireFormatError(`proto: raftpb.${what} ${number} is unknown`);
  return name;
}

function readRepeatedIDs(reader: WireReader, ids: bigint[]): void {
  if (reader.wireType !== WIRE_BYTES) {
    ids.push(reader.uint64());
    return;
  }
  const packed = reader.message();
  packed.wireType = WIRE_VARINT;
  while (packed.offset < packed.end) ids.push(packed.uint64());
}

function writeOptionalBytes(writer: WireWriter, field: number, value: Uint8Array): void {
  if (value.length > 0) writer.bytesField(field, value);
}

function writeNested<T>(writer: WireWriter, field: number, codec: Codec<T>, value: T): void {
  const mark = writer.beginMessage(field);
  codec.encode(value, writer);
  writer.endMessage(mark);
}

/** Writes an entry up to the bytes of its data, which are the last there is. */
export function writeEntryHead(entry: Entry, writer: WireWriter): void {
  writer.varintField(1, entry.type === "EntryNormal" ? 0 : ENTRY_TYPE_NUMBERS.get(entry.type)!);
  writer.varintField(2, entry.term);
  writer.varintField(3, entry.index);
  if (entry.data.length === 0) return;
  writer.tag(4, WIRE_BYTES);
  writer.varint(entry.data.length);
}

export const EntryCodec: Codec<Entry> = {
  encode(entry, writer) {
    writeEntryHead(entry, writer);
    writer.raw(entry.data);
  },
  decode(reader) {
    let type: Entry["type"] = "EntryNormal";
    let term = 0;
    let index = 0;
    let data = EMPTY_BYTES;
    while (reader.next()) {
      if (reader.field === 1) type = readEnum(reader, ENTRY_TYPES, "EntryType");
      else if (reader.field === 2) term = reader.uint64Number();
      else if (reader.field === 3) index = reader.uint64Number();
      else if (reader.field === 4) data = reader.view();
      else reader.skip();
    }
    return { type, term, index, data };
  },
};

/** Bytes of an entry once encoded, without tag or length around it. */
export function entrySizeBytes(entry: Entry): number {
  const dataBytes = entry.data.length;
  const fixed = 4 + varintLength(entry.term) + varintLength(entry.index);
  return dataBytes === 0 ? fixed : fixed + 1 + varintLength(dataBytes) + dataBytes;
}

export const HardStateCodec: Codec<HardState> = {
  encode(state, writer) {
    writer.varintField(1, state.term);
    writer.varint64Field(2, state.vote);
    writer.varintField(3, state.commit);
  },
  decode(reader) {
    let term = 0;
    let vote = 0n;
    let commit = 0;
    while (reader.next()) {
      if (reader.field === 1) term = reader.uint64Number();
      else if (reader.field === 2) vote = reader.uint64();
      else if (reader.field === 3) commit = reader.uint64Number();
      else reader.skip();
    }
    return { term, vote, commit };
  },
};

export const ConfStateCodec: Codec<ConfState> = {
  encode(state, writer) {
    for (const id of state.voters) writer.varint64Field(1, id);
    for (const id of state.learners) writer.varint64Field(2, id);
    for (const id of state.votersOutgoing) writer.varint64Field(3, id);
    for (const id of state.learnersNext) writer.varint64Field(4, id);
    writer.boolField(5, state.autoLeave);
  },
  decode(reader) {
    const voters: bigint[] = [];
    const learners: bigint[] = [];
    const votersOutgoing: bigint[] = [];
    const learnersNext: bigint[] = [];
    let autoLeave = false;
    while (reader.next()) {
      if (reader.field === 1) readRepeatedIDs(reader, voters);
      else if (reader.field === 2) readRepeatedIDs(reader, learners);
      else if (reader.field === 3) readRepeatedIDs(reader, votersOutgoing);
      else if (reader.field === 4) readRepeatedIDs(reader, learnersNext);
      else if (reader.field === 5) autoLeave = reader.bool();
      else reader.skip();
    }
    return { voters, learners, votersOutgoing, learnersNext, autoLeave };
  },
};

export const SnapshotMetadataCodec: Codec<SnapshotMetadata> = {
  encode(metadata, writer) {
    writeNested(writer, 1, ConfStateCodec, metadata.confState);
    writer.varintField(2, metadata.index);
    writer.varintField(3, metadata.term);
  },
  decode(reader) {
    let confState = EMPTY_CONF_STATE;
    let index = 0;
    let term = 0;
    while (reader.next()) {
      if (reader.field === 1) confState = ConfStateCodec.decode(reader.message());
      else if (reader.field === 2) index = reader.uint64Number();
      else if (reader.field === 3) term = reader.uint64Number();
      else reader.skip();
    }
    return { confState, index, term };
  },
};

export const SnapshotCodec: Codec<Snapshot> = {
  encode(snapshot, writer) {
    writeOptionalBytes(writer, 1, snapshot.data);
    writeNested(writer, 2, SnapshotMetadataCodec, snapshot.metadata);
  },
  decode(reader) {
    let data = EMPTY_BYTES;
    let metadata = EMPTY_SNAPSHOT.metadata;
    while (reader.next()) {
      if (reader.field === 1) data = reader.view();
      else if (reader.field === 2) metadata = SnapshotMetadataCodec.decode(reader.message());
      else reader.skip();
    }
    return { data, metadata };
  },
};

export const MessageCodec: Codec<Message> = {
  encode(message, writer) {
    writer.varintField(1, MESSAGE_TYPE_NUMBERS.get(message.type)!);
    writer.varint64Field(2, message.to);
    writer.varint64Field(3, message.from);
    writer.varintField(4, message.term);
    writer.varintField(5, message.logTerm);
    writer.varintField(6, message.index);
    for (const entry of message.entries) writeNested(writer, 7, EntryCodec, entry);
    writer.varintField(8, message.commit);
    if (message.snapshot !== undefined) writeNested(writer, 9, SnapshotCodec, message.snapshot);
    writer.boolField(10, message.reject);
    writer.varintField(11, message.rejectHint);
    writeOptionalBytes(writer, 12, message.context);
    writer.varint64Field(13, message.vote);
    for (const response of message.responses) writeNested(writer, 14, MessageCodec, response);
  },
  decode(reader) {
    return decodeMessageAt(reader, 0);
  },
};

function decodeMessageAt(reader: WireReader, depth: number): Message {
  if (depth > RESPONSE_DEPTH_MAX) throw new WireFormatError("proto: responses nested too deep");
  let type: Message["type"] = "MsgHup";
  let to = 0n;
  let from = 0n;
  let term = 0;
  let logTerm = 0;
  let index = 0;
  const entries: Entry[] = [];
  let commit = 0;
  let vote = 0n;
  let snapshot: Snapshot | undefined;
  let reject = false;
  let rejectHint = 0;
  let context = EMPTY_BYTES;
  const responses: Message[] = [];
  while (reader.next()) {
    if (reader.field === 1) type = readEnum(reader, MESSAGE_TYPES, "MessageType");
    else if (reader.field === 2) to = reader.uint64();
    else if (reader.field === 3) from = reader.uint64();
    else if (reader.field === 4) term = reader.uint64Number();
    else if (reader.field === 5) logTerm = reader.uint64Number();
    else if (reader.field === 6) index = reader.uint64Number();
    else if (reader.field === 7) entries.push(EntryCodec.decode(reader.message()));
    else if (reader.field === 8) commit = reader.uint64Number();
    else if (reader.field === 9) snapshot = SnapshotCodec.decode(reader.message());
    else if (reader.field === 10) reject = reader.bool();
    else if (reader.field === 11) rejectHint = reader.uint64Number();
    else if (reader.field === 12) context = reader.view();
    else if (reader.field === 13) vote = reader.uint64();
    else if (reader.field === 14) responses.push(decodeMessageAt(reader.message(), depth + 1));
    else reader.skip();
  }
  return {
    type,
    to,
    from,
    term,
    logTerm,
    index,
    entries,
    commit,
    vote,
    snapshot,
    reject,
    rejectHint,
    context,
    responses,
  };
}

export const ConfChangeCodec: Codec<ConfChange> = {
  encode(change, writer) {
    writer.varint64Field(1, change.id);
    writer.varintField(2, CONF_CHANGE_TYPE_NUMBERS.get(change.type)!);
    writer.varint64Field(3, change.nodeID);
    writeOptionalBytes(writer, 4, change.context);
  },
  decode(reader) {
    let id = 0n;
    let type: ConfChange["type"] = "ConfChangeAddNode";
    let nodeID = 0n;
    let context = EMPTY_BYTES;
    while (reader.next()) {
      if (reader.field === 1) id = reader.uint64();
      else if (reader.field === 2) type = readEnum(reader, CONF_CHANGE_TYPES, "ConfChangeType");
      else if (reader.field === 3) nodeID = reader.uint64();
      else if (reader.field === 4) context = reader.view();
      else reader.skip();
    }
    return { id, type, nodeID, context };
  },
};

export const ConfChangeSingleCodec: Codec<ConfChangeSingle> = {
  encode(change, writer) {
    writer.varintField(1, CONF_CHANGE_TYPE_NUMBERS.get(change.type)!);
    writer.varint64Field(2, change.nodeID);
  },
  decode(reader) {
    let type: ConfChangeSingle["type"] = "ConfChangeAddNode";
    let nodeID = 0n;
    while (reader.next()) {
      if (reader.field === 1) type = readEnum(reader, CONF_CHANGE_TYPES, "ConfChangeType");
      else if (reader.field === 2) nodeID = reader.uint64();
      else reader.skip();
    }
    return { type, nodeID };
  },
};

export const ConfChangeV2Codec: Codec<ConfChangeV2> = {
  encode(change, writer) {
    writer.varintField(1, CONF_CHANGE_TRANSITION_NUMBERS.get(change.transition)!);
    for (const single of change.changes) writeNested(writer, 2, ConfChangeSingleCodec, single);
    writeOptionalBytes(writer, 3, change.context);
  },
  decode(reader) {
    let transition: ConfChangeV2["transition"] = "ConfChangeTransitionAuto";
    const changes: ConfChangeSingle[] = [];
    let context = EMPTY_BYTES;
    while (reader.next()) {
      if (reader.field === 1) {
        transition = readEnum(reader, CONF_CHANGE_TRANSITIONS, "ConfChangeTransition");
      } else if (reader.field === 2) changes.push(ConfChangeSingleCodec.decode(reader.message()));
      else if (reader.field === 3) context = reader.view();
      else reader.skip();
    }
    return { transition, changes, context };
  },
};
