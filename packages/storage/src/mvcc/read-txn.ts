/** A reader at one revision, which compaction leaves alone until the reader ends. */

import { invariant } from "@etcd-ts/base";
import type { MvccCore } from "./core.ts";
import type { KeyState, RangeOptions, RangeResult, ReadTxn } from "./types.ts";

export class MvccReadTxn implements ReadTxn {
  readonly revision: number;
  readonly compactRevision: number;
  readonly #core: MvccCore;
  #isEnded = false;

  constructor(core: MvccCore) {
    this.#core = core;
    this.revision = core.currentRevision;
    this.compactRevision = core.compactRevision;
    core.pins.pin(this.revision);
  }

  range(key: Uint8Array, rangeEnd: Uint8Array, options: RangeOptions): RangeResult {
    invariant(!this.#isEnded, () => "ReadTxn.range: ended");
    return this.#core.range(key, rangeEnd, options, this.revision, this.compactRevision);
  }

  stateOf(key: Uint8Array): KeyState | undefined {
    invariant(!this.#isEnded, () => "ReadTxn.stateOf: ended");
    return this.#core.stateOf(key, this.revision);
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#core.pins.unpin(this.revision);
  }
}
