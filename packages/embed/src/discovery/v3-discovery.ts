/**
 * The members of a new cluster out of another etcd cluster, the discovery service (v3).
 *
 * Its operator has written how many members there will be under `<token>/_config/size`. Each
 * member writes itself under `<token>/members/<id>`, and waits until enough have. If more come than
 * there is room for, those count that came first, by create revision: all see the same.
 */

import { EtcdError, sleep, stringFromUtf8 } from "@etcd-ts/base";
import type { Clock, LogFields, Logger } from "@etcd-ts/base";
import { checkTlsOptions, Client } from "@etcd-ts/client";
import { RPC_ERRORS } from "@etcd-ts/api";
import type { KeyValue } from "@etcd-ts/api";
import { MembershipError, parseInitialCluster } from "@etcd-ts/etcdserver";
import type { DiscoverySettings } from "../config.ts";

const PREFIX = "/_etcd/registry";
/** The wait between attempts doubles up to `2 ** BACKOFF_EXPONENT_MAX` seconds. */
const BACKOFF_EXPONENT_MAX = 8;

export type DiscoveryFailure = "CLUSTER_FULL" | "SIZE_NOT_FOUND" | "BAD_SIZE_KEY" | "INVALID_URL";

/** What the discovery service says that trying again does not change; the message is etcd's. */
export class DiscoveryError extends EtcdError {
  readonly code: DiscoveryFailure;

  constructor(code: DiscoveryFailure) {
    super(FAILURES[code]);
    this.code = code;
  }
}

const FAILURES: { readonly [Code in DiscoveryFailure]: string } = {
  CLUSTER_FULL: "discovery: cluster is full",
  SIZE_NOT_FOUND: "discovery: size key not found",
  BAD_SIZE_KEY: "discovery: size key is bad",
  INVALID_URL: "discovery: invalid peer URL",
};

interface Registration {
  readonly key: string;
  /** `name=url,name=url` */
  readonly info: string;
  readonly createRevision: number;
}

interface Standing {
  readonly size: number;
  readonly members: Map<string, Registration>;
  /** Of the service, when it was asked. */
  readonly revision: number;
}

/**
 * Enters this member and waits for the others, for as long as it takes.
 *
 * @param self - this member as `name=url,name=url`
 * @returns the cluster, like `--initial-cluster`
 * @throws {DiscoveryError}
 */
export async function joinThroughDiscovery(
  settings: DiscoverySettings,
  memberID: bigint,
  self: string,
  ports: { readonly logger: Logger; readonly clock: Clock },
): Promise<string> {
  // What is wrong with the files stays wrong however often the service is asked.
  if (settings.tls !== undefined) await checkTlsOptions(settings.tls);
  const client = new Client({
    endpoints: settings.endpoints,
    ...(settings.tls === undefined ? {} : { tls: settings.tls }),
    dialTimeoutMs: settings.dialTimeoutMs,
    timeoutMs: settings.requestTimeoutMs,
    keepaliveTimeMs: settings.keepaliveTimeMs,
    keepaliveTimeoutMs: settings.keepaliveTimeoutMs,
    ...(settings.username === "" || settings.password === ""
      ? {}
      : { username: settings.username, password: settings.password }),
  });
  const registry = new Registry(client, settings, memberID, ports);
  try {
    const cluster = await registry.join(self);
    ports.logger.info("discovery joined cluster successfully", { cluster });
    return cluster;
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    ports.logger.error("discovery failed to join cluster", { error: error.message });
    throw error;
  } finally {
    await client.close();
  }
}

class Registry {
  readonly #client: Client;
  readonly #prefix: string;
  readonly #ownKey: string;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #fields: { readonly [name: string]: string };
  #failures = 0;

  constructor(
    client: Client,
    settings: DiscoverySettings,
    memberID: bigint,
    ports: { readonly logger: Logger; readonly clock: Clock },
  ) {
    this.#client = client;
    this.#prefix = `${PREFIX}/${settings.token}`;
    this.#ownKey = `${this.#prefix}/members/${memberID.toString(16)}`;
    this.#logger = ports.logger;
    this.#clock = ports.clock;
    this.#fields = {
      "discovery-token": settings.token,
      "discovery-endpoints": settings.endpoints.join(","),
    };
  }

  async join(self: string): Promise<string> {
    await this.#standing();
    await this.#again("register member itself", async () => {
      await this.#client.kv.put(this.#ownKey, self);
    });
    this.#logger.info("register member itself successfully", {
      ...this.#fields,
      memberKey: this.#ownKey,
      memberInfo: self,
    });
    for (;;) {
      const standing = await this.#standing();
      if (standing.members.size < standing.size) await this.#waitForOthers(standing);
      // Several may have come for the last place.
      this.#refuseIfFull(standing);
      if (standing.members.size >= standing.size) return clusterText(standing);
    }
  }

  /** @throws {DiscoveryError} also if there is no room for this member */
  async #standing(): Promise<Standing> {
    const standing = await this.#again("cluster status check", () => this.#read());
    this.#refuseIfFull(standing);
    return standing;
  }

  #refuseIfFull(standing: Standing): void {
    const first = inOrder(standing).slice(0, standing.size);
    if (first.length < standing.size || first.some(({ key }) => key === this.#ownKey)) return;
    throw new DiscoveryError("CLUSTER_FULL");
  }

  async #read(): Promise<Standing> {
    const { kvs: sizes } = await this.#client.kv.get(`${this.#prefix}/_config/size`);
    if (sizes[0] === undefined) throw new DiscoveryError("SIZE_NOT_FOUND");
    const text = stringFromUtf8(sizes[0].value);
    const size = /^\+?\d+$/.test(text) ? Number(text) : 0;
    if (size <= 0 || !Number.isSafeInteger(size)) throw new DiscoveryError("BAD_SIZE_KEY");
    const response = await this.#client.kv.get(`${this.#prefix}/members`, { prefix: true });
    const members = new Map<string, Registration>();
    for (const kv of response.kvs) this.#take(kv, members);
    return { size, members, revision: response.header?.revision ?? 0 };
  }

  #take(kv: KeyValue, members: Map<string, Registration>): void {
    const key = stringFromUtf8(kv.key).trim();
    const info = stringFromUtf8(kv.value).trim();
    const fields = { ...this.#fields, memberKey: key, memberInfo: info };
    if (!info.includes("=")) {
      this.#logger.warn("invalid peer info returned from discovery service", fields);
    } else if (members.has(key)) {
      this.#logger.warn("found duplicate peer from discovery service", fields);
    } else {
      members.set(key, { key, info, createRevision: kv.createRevision });
      this.#logger.info("found peer from discovery service", fields);
    }
  }

  /** Returns with the members complete, or early, if the watch broke off. */
  async #waitForOthers({ size, members, revision }: Standing): Promise<void> {
    const counts = (): LogFields => ({
      ...this.#fields,
      clusterSize: size,
      "found-peers": members.size,
    });
    this.#logger.info("waiting for peers from discovery service", counts());
    const watcher = this.#client.watch(`${this.#prefix}/members`, {
      prefix: true,
      startRevision: revision + 1,
    });
    try {
      for await (const response of watcher) {
        for (const event of response.events) this.#take(event.kv!, members);
        if (members.size >= size) break;
      }
    } catch (error) {
      // Such as a compaction: what is there is read anew.
      if (!(error instanceof EtcdError)) throw error;
      await this.#backOff("cluster status check", error);
      return;
    } finally {
      watcher.cancel();
    }
    this.#logger.info("found all needed peers from discovery service", counts());
  }

  /** Until it works: a service that cannot be reached now may be later. */
  async #again<T>(step: string, work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        const result = await work();
        this.#failures = 0;
        return result;
      } catch (error) {
        if (!(error instanceof EtcdError) || isFinal(error)) throw error;
        await this.#backOff(step, error);
      }
    }
  }

  async #backOff(reason: string, error: EtcdError): Promise<void> {
    this.#failures++;
    const seconds = 2 ** Math.min(this.#failures, BACKOFF_EXPONENT_MAX);
    this.#logger.warn("retry connecting to discovery service", {
      ...this.#fields,
      reason,
      backoff: `${seconds}s`,
      error: error.message,
    });
    await sleep(this.#clock, seconds * 1000);
  }
}

/** Whether asking again would change nothing. */
function isFinal(error: EtcdError): boolean {
  return error instanceof DiscoveryError || error.code === RPC_ERRORS.authFailed.code;
}

function inOrder({ members }: Standing): Registration[] {
  return [...members.values()].sort((a, b) => a.createRevision - b.createRevision);
}

/** @throws {DiscoveryError} INVALID_URL */
function clusterText(standing: Standing): string {
  const first = inOrder(standing).slice(0, standing.size);
  const text = first.map(({ info }) => info).join(",");
  try {
    parseInitialCluster(text);
  } catch (error) {
    if (error instanceof MembershipError) throw new DiscoveryError("INVALID_URL");
    throw error;
  }
  return text;
}
