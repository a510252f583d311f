/**
 * The URLs of one peer, and the one in use: the next one is tried after a failure.
 *
 * Invariant: there is at least one URL, and `#picked` is one of them.
 */

import { invariant } from "@etcd-ts/base";
import { parseListenURL } from "../listen-url.ts";
import type { ListenURL } from "../listen-url.ts";

/** Where a peer listens. */
export type PeerURL = ListenURL;

/** @throws {ConfigError} */
export function parsePeerURLs(texts: readonly string[]): PeerURL[] {
  return texts.map(parseListenURL);
}

export class URLPicker {
  #urls: readonly PeerURL[];
  #picked = 0;

  constructor(urls: readonly PeerURL[]) {
    invariant(urls.length > 0, () => "URLPicker: a peer without URLs");
    this.#urls = urls;
  }

  get urls(): readonly PeerURL[] {
    return this.#urls;
  }

  update(urls: readonly PeerURL[]): void {
    invariant(urls.length > 0, () => "URLPicker.update: a peer without URLs");
    this.#urls = urls;
    this.#picked = 0;
  }

  pick(): PeerURL {
    return this.#urls[this.#picked]!;
  }

  /** Moves on, unless somebody else already did. */
  unreachable(url: PeerURL): void {
    if (url === this.#urls[this.#picked]) this.#picked = (this.#picked + 1) % this.#urls.length;
  }
}
