/** Everything under a prefix: first what is there, page by page at one revision, then changes. */

import type { KeyValue, WatchResponse } from "@etcd-ts/api";
import { concatBytes } from "@etcd-ts/base";

import { bytesOf, FROM_KEY, prefixEnd } from "./bytes.ts";
import type { Bytes } from "./bytes.ts";
import type { Client } from "./client.ts";

const PAGE_KEYS = 1000;
const NUL = new Uint8Array([0]);

export class Syncer {
  readonly #client: Client;
  readonly #prefix: Uint8Array;
  #revision: number;

  /** @param revision - what is there at it; 0 for now */
  constructor(client: Client, prefix: Bytes, revision = 0) {
    this.#client = client;
    this.#prefix = bytesOf(prefix);
    this.#revision = revision;
  }

  /** What is there, in the order of keys. */
  async *base(): AsyncGenerator<readonly KeyValue[], void, void> {
    const isAll = this.#prefix.length === 0;
    const rangeEnd = isAll ? FROM_KEY : prefixEnd(this.#prefix);
    let key = isAll ? NUL : this.#prefix;
    for (;;) {
      const { kvs, more, header } = await this.#client.kv.get(key, {
        rangeEnd,
        limit: PAGE_KEYS,
        sortBy: "KEY",
        order: "ASCEND",
        revision: this.#revision,
      });
      if (this.#revision === 0) this.#revision = header?.revision ?? 0;
      yield kvs;
      const last = kvs.at(-1);
      if (!more || last === undefined) return;
      key = concatBytes([last.key, NUL]);
    }
  }

  /** Changes after the revision of `base`. */
  updates(): AsyncIterable<WatchResponse> {
    return this.#client.watch(this.#prefix, { prefix: true, startRevision: this.#revision + 1 });
  }
}
