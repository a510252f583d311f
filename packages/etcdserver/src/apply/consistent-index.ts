/**
 * Which log entry the backend stands at.
 *
 * Invariants:
 * - It moves in the same synchronous stretch as the changes of its entry, and the backend freezes
 *   a batch only between two such stretches: index and changes are durable together or not at all.
 * - It never goes back within one backend.
 */

import { invariant } from "@etcd-ts/base";
import type { ConfState } from "@etcd-ts/raft";
import {
  readConsistentIndex,
  readTerm,
  writeConfState,
  writeConsistentIndex,
} from "@etcd-ts/storage";
import type { Backend } from "@etcd-ts/storage";

export class ConsistentIndex {
  #index = 0;
  #term = 0;
  #writtenIndex = 0;
  #confState: ConfState | undefined = undefined;
  #poison: Error | undefined = undefined;

  #backend: Backend | undefined = undefined;

  constructor(backend: Backend) {
    this.attach(backend);
  }

  /**
   * Reads where `backend` stands, and from now on adds to each of its commits; one attached before
   * is left as it is.
   */
  attach(backend: Backend): void {
    this.#backend = backend;
    this.#index = readConsistentIndex(backend);
    this.#term = readTerm(backend);
    this.#writtenIndex = this.#index;
    this.#confState = undefined;
    backend.onPreCommit(() => this.#write(backend));
  }

  get index(): number {
    return this.#index;
  }

  get term(): number {
    return this.#term;
  }

  set(index: number, term: number): void {
    invariant(index >= this.#index, () => `ConsistentIndex.set: ${index} after ${this.#index}`);
    this.#index = index;
    this.#term = term;
  }

  /**
   * Refuses all further commits: an entry may have been applied in part, and what is in memory
   * must not become durable.
   */
  poison(error: Error): void {
    this.#poison ??= error;
  }

  /** Written with the next commit. */
  setConfState(confState: ConfState): void {
    this.#confState = confState;
  }

  #write(backend: Backend): void {
    if (this.#poison !== undefined) throw this.#poison;
    if (backend !== this.#backend) return;
    if (this.#index !== this.#writtenIndex) {
      writeConsistentIndex(backend, this.#index, this.#term);
      this.#writtenIndex = this.#index;
    }
    if (this.#confState !== undefined) {
      const { voters, learners, votersOutgoing, learnersNext, autoLeave } = this.#confState;
      writeConfState(backend, {
        voters: [...voters],
        learners: [...learners],
        votersOutgoing: [...votersOutgoing],
        learnersNext: [...learnersNext],
        autoLeave,
      });
      this.#confState = undefined;
    }
  }
}
