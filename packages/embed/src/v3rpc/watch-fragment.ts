/**
 * Cuts a watch response whose client takes it in pieces.
 *
 * Invariants: the pieces carry the events in order, each at least one; all but the last say that
 * more follow; a piece with two or more events is smaller than the bound.
 */

import { WatchResponseCodec } from "@etcd-ts/api";
import type { Event, WatchResponse } from "@etcd-ts/api";
import { encodeMessage } from "@etcd-ts/base";

import { eventFieldBytes } from "./sizes.ts";

/** What `fragment: true` takes. */
const FRAGMENT_FIELD_BYTES = 2;

/** @param messageBytesMax - pieces stay below it, unless one event alone does not */
export function fragments(response: WatchResponse, messageBytesMax: number): WatchResponse[] {
  if (response.events.length < 2) return [response];
  const sizes = response.events.map(eventFieldBytes);
  const envelope = encodeMessage(WatchResponseCodec, { ...response, events: [] }).length;
  const total = sizes.reduce((sum, bytes) => sum + bytes, envelope);
  if (total < messageBytesMax) return [response];

  const pieces: Event[][] = [];
  let piece: Event[] = [];
  let bytes = envelope + FRAGMENT_FIELD_BYTES;
  for (const [i, event] of response.events.entries()) {
    if (piece.length > 0 && bytes + sizes[i]! >= messageBytesMax) {
      pieces.push(piece);
      piece = [];
      bytes = envelope + FRAGMENT_FIELD_BYTES;
    }
    piece.push(event);
    bytes += sizes[i]!;
  }
  pieces.push(piece);
  return pieces.map((events, i) => ({ ...response, events, fragment: i < pieces.length - 1 }));
}
