/**
 * A client of an etcd cluster.
 *
 * Nothing is dialled before the first call. One client has one connection; it goes on to the next
 * endpoint when that one fails.
 */

import { AuthClient } from "./auth.ts";
import type { Bytes } from "./bytes.ts";
import { Caller } from "./caller.ts";
import { ClusterClient } from "./cluster.ts";
import { KVClient } from "./kv.ts";
import { LeaseClient } from "./lease.ts";
import { MaintenanceClient } from "./maintenance.ts";
import type { ClientOptions, RequestOptions } from "./options.ts";
import { Watcher } from "./watch.ts";
import type { WatchOptions } from "./watch.ts";

export class Client {
  readonly kv: KVClient;
  readonly lease: LeaseClient;
  readonly cluster: ClusterClient;
  readonly maintenance: MaintenanceClient;
  readonly auth: AuthClient;
  readonly #caller: Caller;
  readonly #watchers = new Set<Watcher>();

  /** @throws {EndpointError} */
  constructor(options: ClientOptions) {
    this.#caller = new Caller(options);
    this.kv = new KVClient(this.#caller);
    this.lease = new LeaseClient(this.#caller);
    this.cluster = new ClusterClient(this.#caller);
    this.maintenance = new MaintenanceClient(this.#caller);
    this.auth = new AuthClient(this.#caller);
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
    return new Client({ ...this.options, endpoints: [endpoint] });
  }

  watch(key: Bytes, options: WatchOptions = {}): Watcher {
    const watcher = new Watcher(this.#caller, key, options);
    this.#watchers.add(watcher);
    watcher.ended.then(
      () => this.#watchers.delete(watcher),
      () => this.#watchers.delete(watcher),
    );
    return watcher;
  }

  /** Ends watches and the connection; calls under way fail with UNAVAILABLE. */
  async close(): Promise<void> {
    for (const watcher of this.#watchers) watcher.cancel();
    await this.#caller.connections.close();
  }
}
