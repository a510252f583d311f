/** URLs of members: what etcd takes for one, and the `name=url,name=url` list of a new cluster. */

import { MembershipError } from "./errors.ts";

/**
 * Checks a list of URLs.
 *
 * @returns them sorted, without surrounding blanks
 * @throws {MembershipError} `BAD_URLS` with etcd's text
 */
export function parseMemberURLs(urls: readonly string[]): string[] {
  if (urls.length === 0) throw badURLs("no valid URLs given");
  return urls.map(parseMemberURL).sort();
}

/** As `parseMemberURLs`, for one. */
export function parseMemberURL(text: string): string {
  const url = text.trim();
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):(?:\/\/([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?$/.exec(url);
  if (match === null) throw badURLs(withoutScheme(url));
  const scheme = match[1]!.toLowerCase();
  if (scheme === "unix" || scheme === "unixs") return url;
  if (scheme !== "http" && scheme !== "https") {
    throw badURLs(`URL scheme must be http, https, unix, or unixs: ${url}`);
  }
  const authority = match[2] ?? "";
  const host = authority.slice(authority.lastIndexOf("@") + 1);
  if (!isHostPort(host)) {
    throw badURLs(`URL address does not have the form "host:port": ${url}`);
  }
  if (match[3] !== "") throw badURLs(`URL must not contain a path: ${url}`);
  return url;
}

/** How Go's `net/url` and etcd refuse a text that does not begin with a scheme. */
function withoutScheme(url: string): string {
  if (url.startsWith(":")) return `parse "${url}": missing protocol scheme`;
  const segment = url.split(/[/?#]/, 1)[0] ?? "";
  return segment.includes(":")
    ? `parse "${url}": first path segment in URL cannot contain colon`
    : `URL scheme must be http, https, unix, or unixs: ${url}`;
}

/** `host:port`, `[v6]:port` or `:port`; the port is a number or empty. */
function isHostPort(text: string): boolean {
  return /^(?:\[[0-9A-Za-z:.%_~-]*\]|[^:[\]\s]*):\d*$/.test(text);
}

/**
 * Reads `name=url,name=url`; a name may come more than once.
 *
 * @returns the sorted URLs of each name
 * @throws {MembershipError} `BAD_URLS`
 */
export function parseInitialCluster(text: string): Map<string, string[]> {
  const urls = new Map<string, string[]>();
  for (const part of text.split(",")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = equals < 0 ? part : part.slice(0, equals);
    const list = urls.get(name) ?? [];
    urls.set(name, list);
    list.push(equals < 0 ? "" : part.slice(equals + 1));
  }
  for (const [name, list] of urls) urls.set(name, parseMemberURLs(list));
  return urls;
}

function badURLs(message: string): MembershipError {
  return new MembershipError("BAD_URLS", message);
}
