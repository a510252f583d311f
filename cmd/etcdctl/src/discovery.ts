/** Endpoints from DNS: SRV records `_etcd-client._tcp` and, for TLS, `_etcd-client-ssl._tcp`. */

import { resolveSrv } from "node:dns/promises";
import { err, goQuote } from "@etcd-ts/cli";

import { EXIT, ExitError } from "./exit.ts";

/** @throws {ExitError} if neither record exists */
export async function discoverEndpoints(
  domain: string,
  serviceName: string,
  isInsecure: boolean,
): Promise<readonly string[]> {
  const suffix = serviceName === "" ? "" : `-${serviceName}`;
  const services = [
    [`_etcd-client-ssl${suffix}._tcp.${domain}`, "https"],
    [`_etcd-client${suffix}._tcp.${domain}`, "http"],
  ] as const;
  const endpoints: string[] = [];
  let failure: unknown;
  for (const [name, scheme] of services) {
    try {
      const records = await resolveSrv(name);
      endpoints.push(...records.map((record) => `${scheme}://${record.name}:${record.port}`));
    } catch (error) {
      failure = error;
    }
  }
  if (endpoints.length === 0) {
    const reason = failure instanceof Error ? failure.message : String(failure);
    throw new ExitError(EXIT.error, `error querying DNS SRV records for ${domain}: ${reason}`);
  }
  if (isInsecure) return endpoints;
  return endpoints.filter((endpoint) => {
    if (endpoint.startsWith("https:")) return true;
    err(`ignoring discovered insecure endpoint ${goQuote(endpoint)}\n`);
    return false;
  });
}
