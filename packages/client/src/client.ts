/**
 * A client of an etcd cluster.
 *
 * Nothing is dialled before the first call. Calls take turns among the endpoints that work.
 */

import { EMPTY_BYTES } from "@etcd-ts/base";

import { AuthClient } from "./auth.ts";
import type { Bytes } from "./bytes.ts";
import { Caller } from "./caller.ts";
import { ClusterClient } from "./cluster.ts";
import { typedError } from "./errors.ts";
import type { Keyspace } from "./keyspace.ts";
import { DirectKV, KVClient } from "./kv.ts";
import { LeaseClient } from "./lease.ts";
import { MaintenanceClient } from "./maintenance.ts";
import { Namespace } from "./namespace.ts";
import type { ClientOptions, RequestOptions } from "./options.ts";
import { OrderedKV } from "./ordering.ts";
import { Watcher } from "./watch.ts";
import type { WatchOptions } from "./watch.ts";

/** How long one round of `autoSyncIntervalMs` may take. */
const SYNC_TIMEOUT_MS = 5000;

export class Client implements Keyspace {
  readonly kv: KVClient;
  readonly lease: LeaseClient;
  readonly cluster: ClusterClient;
  readonly maintenance: MaintenanceClient;
  readonly auth: AuthClient;
  readonly #caller: Caller;
  readonly #direct: DirectKV;
  readonly #watchers = new Set<Watcher>();
  #syncTimer: NodeJS.Timeout | undefined;
  readonly #closing = new AbortController();

  /** @throws {EndpointError} */
  constructor(options: ClientOptions) {
    this.#caller = new Caller(options);
    this.#direct = new DirectKV(this.#caller);
    this.kv = new KVClient(this.#direct);
    this.lease = new LeaseClient(this.#caller);
    this.cluster = new ClusterClient(this.#caller);
    this.maintenance = new MaintenanceClient(this.#caller);
    this.auth = new AuthClient(this.#caller);
    this.#scheduleSync();
  }

  get options(): ClientOptions {
    return this.#caller.options;
  }

  get endpoints(): readonly string[] {
    return this.#caller.connections.endpoints;
  }

  /** Changes where the client goes next. @throws {EndpointError} */
  setEndpoints(endpoints: readonly string[]): void {
    this.#caller.connections.setEndpoints(endpoints);
  }

  /** Takes the endpoints the members advertise. */
  async syncEndpoints(options: RequestOptions = {}): Promise<readonly string[]> {
    const { members } = await this.cluster.list(options);
    const endpoints = members
      .filter((member) => member.name !== "" && !member.isLearner)
      .flatMap(({ clientURLs }) => clientURLs);
    if (endpoints.length > 0) this.setEndpoints(endpoints);
    return endpoints;
  }

  /**
   * Logs in with `username` and `password`; without it the first call does. A server that has
   * authentication off is content.
   *
   * @throws {RpcError} AUTH_FAILED
   */
  login(options: RequestOptions = {}): Promise<void> {
    return this.#caller.login(options);
  }

  /** A second client, of one member alone, set up like this one. */
  at(endpoint: string): Client {
    return new Client({ ...this.options, endpoints: [endpoint], autoSyncIntervalMs: 0 });
  }

  /** Keys under a prefix, as if they were all there are. */
  namespace(prefix: Bytes): Namespace {
    return new Namespace(prefix, {
      kv: this.#direct,
      lease: (keyPrefix) => new LeaseClient(this.#caller, keyPrefix),
      watch: (key, options, keyPrefix) => this.#watch(key, options, keyPrefix),
    });
  }

  /**
   * Keys whose reads never go back in time, although the members that answer are not all as far:
   * an answer older than one seen before is asked of another member.
   */
  ordered(): KVClient {
    return new KVClient(new OrderedKV(this.#direct, this.#caller));
  }

  watch(key: Bytes, options: WatchOptions = {}): Watcher {
    return this.#watch(key, options, EMPTY_BYTES);
  }

  #watch(key: Bytes, options: WatchOptions, keyPrefix: Uint8Array): Watcher {
    const watcher = new Watcher(this.#caller, key, options, keyPrefix);
    this.#watchers.add(watcher);
    watcher.ended.then(
      () => this.#watchers.delete(watcher),
      () => this.#watchers.delete(watcher),
    );
    return watcher;
  }

  /** Ends watches and connections; calls under way fail with UNAVAILABLE. */
  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#syncTimer);
    for (const watcher of this.#watchers) watcher.cancel();
    await this.#caller.connections.close();
  }

  #scheduleSync(): void {
    const intervalMs = this.options.autoSyncIntervalMs ?? 0;
    if (intervalMs <= 0 || this.#closing.signal.aborted) return;
    this.#syncTimer = setTimeout(() => {
      void this.#sync().finally(() => this.#scheduleSync());
    }, intervalMs);
    this.#syncTimer.unref();
  }

  async #sync(): Promise<void> {
    try {
      const { signal } = this.#closing;
      await this.syncEndpoints({ timeoutMs: SYNC_TIMEOUT_MS, signal });
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      const method = "autoSync";
      this.options.onRetry?.({ endpoint: undefined, method, error: typedError(error) });
    }
  }
}
