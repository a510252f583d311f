/** Peer URLs as an operator writes them. */

const WEB_SCHEMES = new Set(["http", "https"]);
const SOCKET_SCHEMES = new Set(["unix", "unixs"]);

/**
 * The URLs in byte order, or undefined if one of them is none a member can be reached at: a scheme
 * etcd knows, and for the web schemes `host:port` and no path.
 */
export function parsePeerURLs(texts: readonly string[]): string[] | undefined {
  if (texts.length === 0) return undefined;
  const urls = texts.map((text) => text.trim());
  return urls.every(isPeerURL) ? urls.toSorted() : undefined;
}

function isPeerURL(text: string): boolean {
  const parts = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)/.exec(text);
  if (parts === null) return false;
  const [, scheme = "", host = "", path = ""] = parts;
  if (SOCKET_SCHEMES.has(scheme.toLowerCase())) return true;
  if (!WEB_SCHEMES.has(scheme.toLowerCase()) || path !== "") return false;
  // `host:port` with a numeric port; an IPv6 address stands in brackets.
  return /^(\[[0-9A-Fa-f:.%]+\]|[^:[\]\s]*):\d*$/.test(host.replace(/^.*@/, ""));
}
