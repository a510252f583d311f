/**
 * A connection to each endpoint, and the choice among them.
 *
 * Rules:
 * - Nothing is dialled before the first call; then all endpoints are, and the first that answers
 *   takes the calls until others have joined it.
 * - Calls take the open connections in turn. Endpoints that are not healthy are left out while
 *   there is a healthy one.
 * - Callers who wait for a connection do not hold each other up: each leaves at its own deadline.
 */

import type { RpcError } from "@etcd-ts/api";

import { parseEndpoint } from "./endpoint.ts";
import type { Endpoint } from "./endpoint.ts";
import { aborted, canceled } from "./errors.ts";
import { Link } from "./link.ts";
import type { Connection } from "./link.ts";
import type { ClientOptions } from "./options.ts";
import { TLS_MATERIAL } from "./tls-source.ts";
import { within } from "./waiting.ts";

export class Connections {
  readonly #options: ClientOptions;
  #links: readonly Link[];
  #turn = 0;
  #isClosed = false;
  readonly #waiting = new Set<() => void>();

  /** @throws {EndpointError} */
  constructor(options: ClientOptions) {
    this.#options = options;
    this.#links = parseEndpoints(options.endpoints).map((endpoint) => this.#link(endpoint));
  }

  get endpoints(): readonly string[] {
    return this.#links.map(({ endpoint }) => endpoint.text);
  }

  /** Connections to endpoints that stay are kept; calls on the others fail. @throws {EndpointError} */
  setEndpoints(endpoints: readonly string[]): void {
    const before = new Map(this.#links.map((link) => [link.endpoint.text, link]));
    this.#links = parseEndpoints(endpoints).map((endpoint) => {
      const kept = before.get(endpoint.text);
      before.delete(endpoint.text);
      return kept ?? this.#link(endpoint);
    });
    for (const link of before.values()) void link.close();
    this.#changed();
  }

  /**
   * An open connection; goes on trying until `deadlineMs` (of `performance.now`).
   *
   * @throws {RpcError} DEADLINE_EXCEEDED with the last failure as its cause, CANCELED, or
   *   TLS_MATERIAL if the client's own certificates cannot be used
   */
  async acquire(deadlineMs: number, signal: AbortSignal | undefined): Promise<Connection> {
    for (;;) {
      if (this.#isClosed) throw canceled();
      if (signal?.aborted === true) throw aborted(signal);
      for (const link of this.#links) link.dialIfDue();
      const connection = this.#choose();
      if (connection !== undefined) return connection;
      const failure = this.#lastFailure();
      if (failure?.code === TLS_MATERIAL) throw failure;
      await this.#change(deadlineMs, signal);
    }
  }

  /** The member said that it cannot, or does not answer: others are preferred for a while. */
  suspect(connection: Connection): void {
    this.#links.find(({ endpoint }) => endpoint === connection.endpoint)?.suspect();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#changed();
    await Promise.all(this.#links.map((link) => link.close()));
  }

  #link(endpoint: Endpoint): Link {
    return new Link(endpoint, this.#options, () => this.#changed());
  }

  #choose(): Connection | undefined {
    let fallback: Connection | undefined;
    for (let i = 0; i < this.#links.length; i++) {
      const position = (this.#turn + i) % this.#links.length;
      const link = this.#links[position]!;
      const { open } = link;
      if (open === undefined) continue;
      if (link.isHealthy) {
        this.#turn = position + 1;
        return open;
      }
      fallback ??= open;
    }
    if (fallback !== undefined) this.#turn++;
    return fallback;
  }

  /** Waits until a link has changed or may dial again. */
  async #change(deadlineMs: number, signal: AbortSignal | undefined): Promise<void> {
    const now = performance.now();
    const due = this.#links.flatMap(({ dueMs }) => (dueMs === undefined ? [] : [dueMs]));
    const waitMs = Math.max(0, Math.min(...due) - now);
    let timer: NodeJS.Timeout | undefined;
    let wake: () => void = () => undefined;
    const change = new Promise<void>((resolve) => {
      wake = resolve;
      if (Number.isFinite(waitMs)) timer = setTimeout(resolve, waitMs);
    });
    this.#waiting.add(wake);
    try {
      await within(change, deadlineMs, signal, () => this.#lastFailure());
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(wake);
    }
  }

  #lastFailure(): RpcError | undefined {
    return this.#links.map(({ failure }) => failure).find((failure) => failure !== undefined);
  }

  #changed(): void {
    for (const wake of this.#waiting) wake();
  }
}

function parseEndpoints(endpoints: readonly string[]): readonly Endpoint[] {
  const parsed = endpoints.map((text) => parseEndpoint(text.trim()));
  if (parsed.length === 0) parseEndpoint("");
  return parsed;
}
