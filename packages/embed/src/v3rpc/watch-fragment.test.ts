import { expect, test } from "vitest";
import fc from "fast-check";

import { encodeMessage } from "@etcd-ts/base";
import { EventCodec, EventType, WatchResponseCodec } from "@etcd-ts/api";
import type { Event, WatchResponse } from "@etcd-ts/api";

import { eventFieldBytes, fieldBytes } from "./sizes.ts";
import { fragments } from "./watch-fragment.ts";

const header = { clusterID: 7n, memberID: 8n, revision: 9, raftTerm: 2 };

const keyValue = fc.record({
  key: fc.uint8Array({ maxLength: 200 }),
  createRevision: fc.nat(),
  modRevision: fc.nat(),
  version: fc.nat(),
  value: fc.uint8Array({ maxLength: 300 }),
  lease: fc.constant(0n),
});

const event: fc.Arbitrary<Event> = fc.record({
  type: fc.constantFrom(EventType.PUT, EventType.DELETE),
  kv: keyValue,
  prevKV: fc.option(keyValue, { nil: undefined }),
});

function responseOf(events: readonly Event[]): WatchResponse {
  return { ...WatchResponseCodec.create(), header, watchID: 300, events };
}

test("eventFieldBytes() is what the codec writes", () => {
  fc.assert(
    fc.property(event, (each) => {
      expect(eventFieldBytes(each)).toBe(fieldBytes(encodeMessage(EventCodec, each).length));
    }),
  );
});

test("fragments() keeps all events in order, marks all but the last, and stays below the bound", () => {
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 20 }),
      fc.integer({ min: 1, max: 3000 }),
      (events, max) => {
        const response = responseOf(events);
        const pieces = fragments(response, max);
        expect(pieces.flatMap((piece) => piece.events)).toEqual(events);
        expect(pieces.map((piece) => piece.fragment)).toEqual(
          pieces.map((_, i) => i < pieces.length - 1),
        );
        for (const piece of pieces) {
          expect(piece).toMatchObject({ header, watchID: 300 });
          const size = encodeMessage(WatchResponseCodec, piece).length;
          if (piece.events.length > 1) expect(size).toBeLessThan(max);
        }
        // No split without need, and no piece that could have taken one event more.
        if (encodeMessage(WatchResponseCodec, response).length < max) expect(pieces.length).toBe(1);
        for (let i = 0; i + 1 < pieces.length; i++) {
          const longer = [...pieces[i]!.events, pieces[i + 1]!.events[0]!];
          const size = encodeMessage(WatchResponseCodec, { ...pieces[i]!, events: longer }).length;
          expect(size).toBeGreaterThanOrEqual(max);
        }
      },
    ),
  );
});
