/**
 * The messages of `walpb`: what a log record's data holds besides raft's own messages.
 *
 * Proto2 with non-nullable scalars: every scalar is always written, zeros included.
 */

import type { Codec, WireReader, WireWriter } from "@etcd-ts/base";
import { ConfStateCodec } from "@etcd-ts/raft";
import type { ConfState } from "@etcd-ts/raft";

/** Where a raft snapshot stands in the log. `confState` is present whenever `index` > 0. */
export interface WalSnapshot {
  readonly index: number;
  readonly term: number;
  readonly confState: ConfState | undefined;
}

export const WalSnapshotCodec: Codec<WalSnapshot> = {
  encode(message: WalSnapshot, writer: WireWriter): void {
    writer.varintField(1, message.index);
    writer.varintField(2, message.term);
    if (message.confState !== undefined) {
      const mark = writer.beginMessage(3);
      ConfStateCodec.encode(message.confState, writer);
      writer.endMessage(mark);
    }
  },

  decode(reader: WireReader): WalSnapshot {
    let index = 0;
    let term = 0;
    let confState: ConfState | undefined;
    while (reader.next()) {
      switch (reader.field) {
        case 1:
          index = reader.uint64Number();
          break;
        case 2:
          term = reader.uint64Number();
          break;
        case 3:
          confState = ConfStateCodec.decode(reader.message());
          break;
        default:
          reader.skip();
      }
    }
    return { index, term, confState };
  },
};
