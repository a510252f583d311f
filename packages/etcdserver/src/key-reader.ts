/**
 * Gets of single keys, for callers that answer many in a row: each is encoded right where it is to
 * be sent from, and nothing is made for it.
 *
 * What it reads is the state this member has: who wants a linearizable read waits before.
 */

import { EMPTY_BYTES, encodeMessage } from "@etcd-ts/base";
import type { WireWriter } from "@etcd-ts/base";
import { ResponseHeaderCodec } from "@etcd-ts/api";
import type { ResponseHeader } from "@etcd-ts/api";

import type { MemberCore } from "./member-core.ts";
import type { KeyReads } from "./server-api.ts";

/** Is told how long each read took. */
export type ObserveRead = (tookMs: number) => void;

export class KeyReader implements KeyReads {
  readonly #core: MemberCore;
  readonly #observe: ObserveRead;
  /** The header that was written last, and its bytes. */
  #header: ResponseHeader | undefined;
  #headerBytes: Uint8Array = EMPTY_BYTES;
  #startMs = 0;

  constructor(core: MemberCore, observe: ObserveRead) {
    this.#core = core;
    this.#observe = observe;
  }

  get isOpenToAll(): boolean {
    const { end, auth, isInstalling } = this.#core;
    return end === undefined && !auth.isEnabled && !isInstalling;
  }

  begin(): number {
    this.#startMs = this.#core.ports.clock.monotonicMs();
    return this.#startMs;
  }

  read(writer: WireWriter, bytes: Uint8Array, start: number, end: number): number {
    const { store, ports } = this.#core;
    const header = this.#core.header(store.currentRevision);
    if (header !== this.#header) {
      this.#header = header;
      this.#headerBytes = encodeMessage(ResponseHeaderCodec, header);
    }
    writer.bytesField(1, this.#headerBytes);
    store.writeOne(writer, bytes, start, end);
    const nowMs = ports.clock.monotonicMs();
    this.#observe(nowMs - this.#startMs);
    this.#startMs = nowMs;
    return nowMs;
  }
}
