import fc from "fast-check";
import { expect, test } from "vitest";

import { FrameStream } from "./frame-stream.ts";
import type { StreamHost } from "./frame-stream.ts";
import { StreamTable } from "./stream-table.ts";

class NamedStream extends FrameStream {
  constructor(id: number) {
    super({} as StreamHost, id, 0);
  }
  onData(): void {}
  onRemoteEnd(): void {}
  protected onClosed(): void {}
  protected onDrained(): void {}
  protected writeEnd(): void {}
}

/** Ids that share slots and ids that do not. */
const ids = fc.oneof(
  fc.integer({ min: 0, max: 200 }).map((n) => 2 * n + 1),
  fc.integer({ min: 0, max: 20 }).map((n) => 128 * n + 7),
);

test("finds what a map finds, whatever comes and goes", () => {
  const steps = fc.array(fc.tuple(ids, fc.boolean()), { maxLength: 300 });
  fc.assert(
    fc.property(steps, (all) => {
      const table = new StreamTable();
      const model = new Map<number, FrameStream>();
      for (const [id, isAdded] of all) {
        if (!isAdded) {
          table.delete(id);
          model.delete(id);
        } else if (!model.has(id)) {
          const stream = new NamedStream(id);
          table.add(stream);
          model.set(id, stream);
        }
        expect(table.get(id)).toBe(model.get(id));
        expect(table.size).toBe(model.size);
      }
      for (const [id] of all) expect(table.get(id)).toBe(model.get(id));
      expect(new Set(table.all())).toEqual(new Set(model.values()));
      table.clear();
      expect([table.size, table.all().length]).toEqual([0, 0]);
    }),
  );
});
