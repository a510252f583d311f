/** A cluster's data: a bit of everything that is stored, and all a client can see of it. */

import { Client } from "@etcd-ts/client";
import type { Site } from "./site.ts";

const TIMEOUT_MS = 60_000;

export async function withClient<T>(
  site: Site,
  endpoint: string,
  use: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new Client({
    endpoints: [site.real(endpoint)],
    timeoutMs: TIMEOUT_MS,
    ...(site.tls === undefined ? {} : { tls: site.tls }),
  });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

/** Puts, overwrites, deletions, a lease, a transaction, and a compaction before the last of them. */
export function populate(site: Site, endpoint: string): Promise<void> {
  return withClient(site, endpoint, async ({ kv, lease }) => {
    for (let i = 0; i < 60; i++) await kv.put(`key/${i % 20}`, `value ${i} ${"x".repeat(i * 20)}`);
    const { id } = await lease.grant(100_000);
    await kv.put("leased", "x", { lease: id });
    await kv.delete("key/1", { prefix: true });
    const { header } = await kv.put("before", "compaction");
    await kv.compact(header!.revision - 10, { physical: true });
    await kv.put("after", "compaction");
    await kv.put("key/11", "back");
  });
}

export interface Contents {
  readonly revision: number;
  /** Of the whole history that is kept. */
  readonly hash: number;
  readonly pairs: readonly string[];
  readonly leases: number;
}

export function contents(site: Site, endpoint: string): Promise<Contents> {
  return withClient(site, endpoint, async ({ kv, lease, maintenance }) => {
    const { kvs, header } = await kv.get("", { prefix: true });
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
    return {
      revision: header!.revision,
      hash: (await maintenance.hashKV()).hash,
      pairs: kvs.map(
        ({ key, value, modRevision, version }) =>
          `${text(key)}=${text(value)}@${modRevision}.${version}`,
      ),
      leases: (await lease.list()).leases.length,
    };
  });
}
