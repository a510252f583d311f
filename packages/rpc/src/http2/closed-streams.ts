/**
 * The streams that closed last, and how: what may still come for them depends on it.
 *
 * A client whose stream was reset may not know yet, and what it sent is passed over; one that
 * ended a stream itself and goes on sending breaks the protocol.
 */

const REMEMBERED = 256;

export class ClosedStreams {
  /** Stream ids, negative if the client had ended its side; 0 is unused. */
  readonly #ids = new Int32Array(REMEMBERED);
  #next = 0;

  add(streamID: number, peerEnded: boolean): void {
    this.#ids[this.#next] = peerEnded ? -streamID : streamID;
    this.#next = (this.#next + 1) % REMEMBERED;
  }

  hasPeerEnded(streamID: number): boolean {
    return this.#ids.includes(-streamID);
  }

  wasReset(streamID: number): boolean {
    return this.#ids.includes(streamID);
  }
}
