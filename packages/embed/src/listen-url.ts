/**
 * URLs a member listens on or advertises: `http://host:port`, `unix:///path`, and their TLS twins.
 *
 * Rules (as etcd): scheme http, https, unix or unixs; a port for the first two; no path, query or
 * fragment. A listener binds to an IP or `localhost`, never to a domain name.
 */

import { EtcdError } from "@etcd-ts/base";
import type { NetworkAddress } from "@etcd-ts/base";

/** A configuration that cannot be run; the message is for the operator. */
export class ConfigError extends EtcdError {
  readonly code = "CONFIG";
}

export type URLScheme = "http" | "https" | "unix" | "unixs";

export interface ListenURL {
  /** As it was written. */
  readonly text: string;
  readonly scheme: URLScheme;
  /** Host without brackets; for unix schemes the host part of the path. */
  readonly host: string;
  readonly port: number;
  /** Where to bind or dial. */
  readonly address: NetworkAddress;
}

const SCHEMES: ReadonlySet<string> = new Set(["http", "https", "unix", "unixs"]);
const PORT_MAX = 65_535;

/** @throws {ConfigError} with etcd's text */
export function parseListenURL(text: string): ListenURL {
  const trimmed = text.trim();
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$/.exec(trimmed);
  const scheme = match?.[1]?.toLowerCase() ?? "";
  if (match === null || !SCHEMES.has(scheme)) {
    throw new ConfigError(`URL scheme must be http, https, unix, or unixs: ${trimmed}`);
  }
  const [, , authority = "", path = ""] = match;
  if (scheme === "unix" || scheme === "unixs") {
    return {
      text: trimmed,
      scheme,
      host: authority,
      port: 0,
      address: { kind: "unix", path: authority + path },
    };
  }
  const hostPort = splitHostPort(authority);
  if (hostPort === undefined) {
    throw new ConfigError(`URL address does not have the form "host:port": ${trimmed}`);
  }
  if (path !== "" || match[4] !== undefined) {
    throw new ConfigError(`URL must not contain a path: ${trimmed}`);
  }
  return {
    text: trimmed,
    scheme: scheme as URLScheme,
    ...hostPort,
    address: { kind: "tcp", ...hostPort },
  };
}

/** URLs between commas, sorted by their text as etcd keeps them. @throws {ConfigError} */
export function parseListenURLs(text: string): readonly ListenURL[] {
  const parts = text.split(",").filter((part) => part.trim() !== "");
  if (parts.length === 0) throw new ConfigError("no valid URLs given");
  return parts.map(parseListenURL).sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0));
}

/** What two URLs of one listener have in common, whatever their scheme. */
export function bindAddress({ address }: ListenURL): string {
  return address.kind === "unix" ? `unix ${address.path}` : `tcp ${address.host} ${address.port}`;
}

/** Refuses a listener's domain name. @throws {ConfigError} */
export function checkBindURL(url: ListenURL): void {
  if (url.address.kind === "unix" || url.host === "localhost" || url.host === "") return;
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(url.host) || url.host.includes(":")) return;
  throw new ConfigError(`expected IP in URL for binding (${url.text})`);
}

/** Refuses an advertised URL that names no host. @throws {ConfigError} */
export function checkAdvertiseURLs(flag: string, urls: readonly ListenURL[]): void {
  for (const url of urls) {
    if (url.address.kind === "tcp" && url.host === "") {
      const all = urls.map(({ text }) => text).join(",");
      throw new ConfigError(
        `--${flag} ${JSON.stringify(all)} must be "host:port" (unexpected empty host (${url.text}))`,
      );
    }
  }
}

function splitHostPort(authority: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]*)):(\d+)$/.exec(authority);
  if (match === null) return undefined;
  const port = Number(match[3]);
  if (port > PORT_MAX) return undefined;
  return { host: match[1] ?? match[2] ?? "", port };
}
