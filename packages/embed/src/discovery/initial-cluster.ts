/**
 * Who is in the cluster a new member starts or joins, from wherever the configuration says.
 *
 * A member that has a log is in a cluster already: what the configuration says is not even read.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { EtcdError } from "@etcd-ts/base";
import type { Disk, Logger } from "@etcd-ts/base";
import {
  MembershipError,
  parseInitialCluster,
  refusalOfName,
  refusalOfURLs,
} from "@etcd-ts/etcdserver";
import { WriteAheadLog } from "@etcd-ts/wal";
import type { EmbedConfig } from "../config.ts";
import { ConfigError, parseListenURL } from "../listen-url.ts";
import { clusterFromDNS } from "./dns-cluster.ts";
import type { Names } from "./names.ts";

export interface InitialCluster {
  readonly members: ReadonlyMap<string, readonly string[]>;
  readonly token: string;
  /** The domain whose records name the members. */
  readonly domain?: string;
}

/** How long host names of this member may take to resolve. */
const RESOLVE_TIMEOUT_MS = 30_000;
const RESOLVE_RETRY_MS = 1000;

/** @throws {ConfigError} if there is no such cluster, or this member does not fit into it */
export async function initialCluster(
  config: EmbedConfig,
  ports: { readonly disk: Disk; readonly names: Names; readonly logger: Logger },
): Promise<InitialCluster> {
  const advertised = config.initialAdvertisePeerURLs.map(({ text }) => text).sort();
  const alone = new Map([[config.name, advertised]]);
  if (await WriteAheadLog.exists(ports.disk, config.walDir)) {
    return { members: alone, token: config.initialClusterToken };
  }
  if (config.discovery !== undefined) return { members: alone, token: config.discovery.token };
  const text =
    config.discoverySRV === ""
      ? config.initialCluster
      : await clusterFromDNS(config, ports.names, ports.logger);
  const members = parse(text);
  refuse(refusalOfName(config.name, members));
  const own = members.get(config.name) ?? [];
  if (config.initialClusterState === "new") await checkOwnURLs(config.name, own, advertised, ports);
  const found = config.discoverySRV === "" ? {} : { domain: config.discoverySRV };
  return { members, token: config.initialClusterToken, ...found };
}

function parse(text: string): ReadonlyMap<string, readonly string[]> {
  try {
    return parseInitialCluster(text);
  } catch (error) {
    if (!(error instanceof MembershipError)) throw error;
    throw new ConfigError(`error setting up initial cluster: ${error.message}`, { cause: error });
  }
}

/** Refuses URLs that differ, unless their hosts have the same addresses. */
async function checkOwnURLs(
  name: string,
  own: readonly string[],
  advertised: readonly string[],
  ports: { readonly names: Names; readonly logger: Logger },
): Promise<void> {
  if (own.join() === advertised.join()) return;
  const difference = await differenceOf(advertised, own, ports);
  if (difference === undefined) return;
  refuse(refusalOfURLs(name, own, advertised, difference));
}

/** @throws {ConfigError} with the refusal, if there is one */
function refuse(refusal: string | undefined): void {
  if (refusal !== undefined) throw new ConfigError(refusal);
}

/** @returns in Go's words what differs; undefined if nothing does */
async function differenceOf(
  a: readonly string[],
  b: readonly string[],
  ports: { readonly names: Names; readonly logger: Logger },
): Promise<string | undefined> {
  if (a.length !== b.length) return `len(${quoteList(a)}) != len(${quoteList(b)})`;
  const deadlineMs = performance.now() + RESOLVE_TIMEOUT_MS;
  try {
    const left = (await Promise.all(a.map((url) => resolved(url, deadlineMs, ports)))).sort();
    const right = (await Promise.all(b.map((url) => resolved(url, deadlineMs, ports)))).sort();
    const i = left.findIndex((url, position) => url !== right[position]);
    return i < 0 ? undefined : `resolved urls: ${quote(left[i]!)} != ${quote(right[i]!)}`;
  } catch (error) {
    if (error instanceof EtcdError) return error.message;
    throw error;
  }
}

async function resolved(
  text: string,
  deadlineMs: number,
  { names, logger }: { readonly names: Names; readonly logger: Logger },
): Promise<string> {
  const { address, host, port, scheme } = parseListenURL(text);
  if (address.kind === "unix" || host === "localhost") return text;
  for (;;) {
    try {
      const ip = await names.address(host);
      const at = ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
      logger.info("resolved URL Host", { url: text, host: `${host}:${port}`, "resolved-addr": at });
      return `${scheme}://${at}`;
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      logger.warn("failed to resolve URL Host", {
        url: text,
        host: `${host}:${port}`,
        "retry-interval": `${RESOLVE_RETRY_MS / 1000}s`,
        error: error.message,
      });
      if (performance.now() + RESOLVE_RETRY_MS > deadlineMs) {
        throw new ConfigError(`failed to resolve ${quote(text)} (${error.message})`, {
          cause: error,
        });
      }
      await sleep(RESOLVE_RETRY_MS);
    }
  }
}

function quote(text: string): string {
  return JSON.stringify(text);
}

function quoteList(texts: readonly string[]): string {
  return `[${texts.map(quote).join(" ")}]`;
}
