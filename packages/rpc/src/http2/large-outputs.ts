/**
 * Outputs of connections in the middle of long answers, taken and given back by all of them: what
 * one has sent is where the next writes. Memory made anew for each 64 KiB would have to be zeroed,
 * and be found again by the collector.
 */

import { WireWriter } from "@etcd-ts/base";

import { FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX } from "./frames.ts";
import { HTTP2_FLUSH_BYTES, HTTP2_LARGE_OUTPUTS_MAX } from "./limits.ts";

/** An output goes out as soon as it is longer than `HTTP2_FLUSH_BYTES`: by a frame at most. */
const BYTES = HTTP2_FLUSH_BYTES + 2 * (FRAME_HEADER_BYTES + FRAME_PAYLOAD_BYTES_MAX);

export class LargeOutputs {
  readonly #spare: WireWriter[] = [];

  take(): WireWriter {
    return this.#spare.pop() ?? new WireWriter(BYTES);
  }

  /** Keeps an output whose bytes have been sent, if it is one of those and there is room. */
  takeBack(output: WireWriter): boolean {
    if (output.capacity !== BYTES || this.#spare.length >= HTTP2_LARGE_OUTPUTS_MAX) return false;
    output.reset();
    this.#spare.push(output);
    return true;
  }
}
