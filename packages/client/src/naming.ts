/**
 * Addresses of a service, each under a key of its own: programs add theirs with a lease, and
 * others learn of them and of those that are gone.
 *
 * The layout is the one of etcd's own Go client (`naming/endpoints`), whose programs read ours and
 * write what ours read: the key is `<service>/<anything>`, the value a JSON object.
 */

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { KeyValue } from "@etcd-ts/api";
import { stringFromUtf8 } from "@etcd-ts/base";

import type { Keyspace } from "./keyspace.ts";
import { op } from "./kv.ts";
import type { PutOptions } from "./kv.ts";
import type { RequestOptions } from "./options.ts";

/** Where a service can be reached. */
export interface ServiceAddress {
  /** `host:port`, or whatever its clients understand. */
  readonly address: string;
  /** Anything JSON can hold; null if there is nothing to say. */
  readonly metadata?: unknown;
}

export type ServiceChange =
  | { readonly kind: "add"; readonly key: string; readonly address: ServiceAddress }
  | { readonly kind: "delete"; readonly key: string };

/** `add` with the lease it is to go with. */
export type ServiceUpdate = ServiceChange & Pick<PutOptions, "lease">;

const ADD = 0;

/** The addresses of one service. */
export class ServiceAddresses {
  readonly #client: Keyspace;
  readonly #prefix: string;

  /** @throws {RpcError} INVALID_ARGUMENT, if the service has no name */
  constructor(client: Keyspace, service: string) {
    if (service === "") throw invalid("a service needs a name");
    this.#client = client;
    this.#prefix = `${service}/`;
  }

  /** Adds or replaces an address. @param key - begins with the service's name and a slash */
  add(
    key: string,
    address: ServiceAddress,
    options: RequestOptions & Pick<PutOptions, "lease"> = {},
  ): Promise<void> {
    const { lease, ...rest } = options;
    return this.update(
      [{ kind: "add", key, address, ...(lease === undefined ? {} : { lease }) }],
      rest,
    );
  }

  delete(key: string, options: RequestOptions = {}): Promise<void> {
    return this.update([{ kind: "delete", key }], options);
  }

  /** Does all of it or nothing. @throws {RpcError} INVALID_ARGUMENT for a key of another service */
  async update(updates: readonly ServiceUpdate[], options: RequestOptions = {}): Promise<void> {
    const operations = updates.map((update) => {
      if (!update.key.startsWith(this.#prefix)) {
        throw invalid(
          `endpoints: endpoint key should be prefixed with '${this.#prefix}' got: '${update.key}'`,
        );
      }
      if (update.kind === "delete") return op.delete(update.key);
      const { lease } = update;
      return op.put(update.key, valueOf(update.address), lease === undefined ? {} : { lease });
    });
    await this.#client.kv
      .txn()
      .do(...operations)
      .commit(options);
  }

  /** All there are, by their keys. A value that is no address is passed over. */
  async list(options: RequestOptions = {}): Promise<ReadonlyMap<string, ServiceAddress>> {
    const { kvs } = await this.#client.kv.get(this.#prefix, { prefix: true, ...options });
    return new Map(kvs.flatMap((kv) => additionOf(kv)).map(({ key, address }) => [key, address]));
  }

  /**
   * First all there are, if there are any, then every change.
   *
   * @throws {WatchCanceledError} if changes were compacted away before they came
   */
  async *watch(
    options: Pick<RequestOptions, "signal"> = {},
  ): AsyncGenerator<readonly ServiceChange[], void, void> {
    const { kvs, header } = await this.#client.kv.get(this.#prefix, {
      prefix: true,
      serializable: true,
      ...options,
    });
    const present = kvs.flatMap((kv) => additionOf(kv));
    if (present.length > 0) yield present;
    const watcher = this.#client.watch(this.#prefix, {
      prefix: true,
      startRevision: (header?.revision ?? 0) + 1,
      ...options,
    });
    for await (const { events } of watcher) {
      const changes = events.flatMap(({ type, kv }): readonly ServiceChange[] => {
        if (kv === undefined) return [];
        return type === 0 ? additionOf(kv) : [{ kind: "delete", key: stringFromUtf8(kv.key) }];
      });
      if (changes.length > 0) yield changes;
    }
  }
}

function invalid(text: string): RpcError {
  return new RpcError("INVALID_ARGUMENT", GRPC_CODES.INVALID_ARGUMENT, text);
}

function valueOf({ address, metadata = null }: ServiceAddress): string {
  return JSON.stringify({ Op: ADD, Addr: address, Metadata: metadata });
}

/** None, if the value is no address. */
function additionOf({ key, value }: KeyValue): readonly (ServiceChange & { kind: "add" })[] {
  let fields: unknown;
  try {
    fields = JSON.parse(stringFromUtf8(value));
  } catch {
    return [];
  }
  if (typeof fields !== "object" || fields === null) return [];
  const address = "Addr" in fields ? fields.Addr : "";
  if (typeof address !== "string") return [];
  const metadata: unknown = "Metadata" in fields ? fields.Metadata : null;
  return [{ kind: "add", key: stringFromUtf8(key), address: { address, metadata } }];
}
