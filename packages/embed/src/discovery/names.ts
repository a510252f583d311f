/** Names of hosts and services, as a member that looks for its cluster asks for them. */

import { lookup, Resolver } from "node:dns/promises";
import { EtcdError } from "@etcd-ts/base";

export interface ServiceRecord {
  readonly host: string;
  readonly port: number;
}

/** The port behind which DNS lies. */
export interface Names {
  /** SRV records of `_service._tcp.domain`, by priority. @throws {NameError} */
  services(name: string): Promise<readonly ServiceRecord[]>;
  /** The address of a host; an address is its own. @throws {NameError} */
  address(host: string): Promise<string>;
}

/** A name that could not be resolved; the message is Go's. */
export class NameError extends EtcdError {
  readonly code = "NAME";
}

const TIMEOUT_MS = 5000;
const ATTEMPTS = 2;

/** @param servers - whom to ask for services, `address:port`; default what the system is set to */
export function nodeNames(servers: readonly string[] = []): Names {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: ATTEMPTS });
  if (servers.length > 0) resolver.setServers([...servers]);
  return {
    services: async (name) => {
      try {
        const records = await resolver.resolveSrv(name);
        return records
          .toSorted((a, b) => a.priority - b.priority || b.weight - a.weight)
          .map((record) => ({ host: record.name, port: record.port }));
      } catch (error) {
        throw nameError(name, error, resolver.getServers()[0]);
      }
    },
    address: async (host) => {
      try {
        return (await lookup(host)).address;
      } catch (error) {
        throw nameError(host, error, undefined);
      }
    },
  };
}

function nameError(name: string, error: unknown, server: string | undefined): NameError {
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  const reason =
    code === "ENOTFOUND" || code === "ENODATA"
      ? "no such host"
      : code === "ETIMEOUT"
        ? "i/o timeout"
        : code;
  const on = server === undefined ? "" : ` on ${server}`;
  return new NameError(`lookup ${name}${on}: ${reason}`, { cause: error });
}
