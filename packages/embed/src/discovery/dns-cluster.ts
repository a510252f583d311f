/**
 * The members of a new cluster out of DNS: SRV records `_etcd-server-ssl._tcp.<domain>` (https) and
 * `_etcd-server._tcp.<domain>` (http), both sets together.
 *
 * A record that resolves to an address this member advertises is this member, and bears its name.
 * The others are named by a count: their names are known only to them, and ids do not depend on it.
 */

import { EtcdError } from "@etcd-ts/base";
import type { Logger } from "@etcd-ts/base";
import type { EmbedConfig } from "../config.ts";
import { ConfigError } from "../listen-url.ts";
import type { Names } from "./names.ts";

type DNSSettings = Pick<
  EmbedConfig,
  "name" | "discoverySRV" | "discoverySRVName" | "initialAdvertisePeerURLs"
>;

/** @returns a text like `--initial-cluster` @throws {ConfigError} if neither set has a member */
export async function clusterFromDNS(
  config: DNSSettings,
  names: Names,
  logger: Logger,
): Promise<string> {
  const suffix = config.discoverySRVName === "" ? "" : `-${config.discoverySRVName}`;
  const found: string[] = [];
  const failures: string[] = [];
  for (const [scheme, service] of [
    ["https", `etcd-server-ssl${suffix}`],
    ["http", `etcd-server${suffix}`],
  ] as const) {
    const lookup = await membersOf(scheme, service, config, names);
    found.push(...lookup.members);
    if (lookup.failure !== undefined) failures.push(lookup.failure);
    logger.info(`get cluster for ${scheme === "https" ? "etcd-server-ssl" : "etcd-server"} SRV`, {
      "service-scheme": scheme,
      "service-name": service,
      "server-name": config.name,
      "discovery-srv": config.discoverySRV,
      "advertise-peer-urls": config.initialAdvertisePeerURLs.map(({ text }) => text),
      "found-cluster": lookup.members,
      ...(lookup.failure === undefined ? {} : { error: lookup.failure }),
    });
  }
  const error = failures.join("\n");
  if (failures.length > 0) logger.warn("failed to resolve during SRV discovery", { error });
  if (found.length === 0) throw new ConfigError(`error setting up initial cluster: ${error}`);
  for (const node of found) logger.info("got bootstrap from DNS for etcd-server", { node });
  if (!found.some((node) => node.startsWith(`${config.name}=`))) {
    throw new ConfigError(
      `error setting up initial cluster: cannot find local etcd member ${JSON.stringify(config.name)} in SRV records`,
    );
  }
  return found.join(",");
}

interface Lookup {
  readonly members: readonly string[];
  readonly failure: string | undefined;
}

async function membersOf(
  scheme: "http" | "https",
  service: string,
  config: DNSSettings,
  names: Names,
): Promise<Lookup> {
  const members: string[] = [];
  let failure: string | undefined;
  let others = 0;
  try {
    const own = await ownAddresses(config, names);
    for (const { host, port } of await names.services(`_${service}._tcp.${config.discoverySRV}`)) {
      const short = host.replace(/\.$/, "");
      let address: string;
      try {
        address = await names.address(short);
      } catch (error) {
        failure = messageOf(error);
        continue;
      }
      const url = own.get(`${address} ${port}`);
      const target = `${scheme}://${hostPort(short, port)}`;
      // A record that is skipped takes a number all the same.
      const name = url === undefined ? String(others++) : config.name;
      if (url === undefined || url.startsWith(`${scheme}:`)) members.push(`${name}=${target}`);
      else {
        failure = `bootstrap at ${target} from DNS for ${service} has scheme mismatch with expected peer ${url}`;
      }
    }
  } catch (error) {
    failure = messageOf(error);
  }
  // As long as one record is good, the others do not matter.
  if (members.length > 0 || failure === undefined) return { members, failure: undefined };
  return { members, failure: `error querying DNS SRV records for _${service} ${failure}` };
}

/** Where this member is reached, and the URL that says so. */
async function ownAddresses(config: DNSSettings, names: Names): Promise<Map<string, string>> {
  const own = new Map<string, string>();
  for (const { address, host, port, text } of config.initialAdvertisePeerURLs) {
    if (address.kind === "tcp") own.set(`${await names.address(host)} ${port}`, text);
  }
  return own;
}

function hostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function messageOf(error: unknown): string {
  if (error instanceof EtcdError) return error.message;
  throw error;
}
