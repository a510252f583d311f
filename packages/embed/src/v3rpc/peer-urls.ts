/** Peer URLs as an operator writes them. */

/**
 * The URLs in byte order, their schemes in lower case; undefined if one of them is none a member
 * can be reached at: a scheme etcd knows, and for the web schemes `host:port` and no path.
 */
export function parsePeerURLs(texts: readonly string[]): string[] | undefined {
  if (texts.length === 0) return undefined;
  const urls: string[] = [];
  for (const text of texts) {
    const url = parsePeerURL(text.trim());
    if (url === undefined) return undefined;
    urls.push(url);
  }
  return urls.toSorted();
}

function parsePeerURL(text: string): string | undefined {
  const [, scheme = "", rest = ""] = /^([A-Za-z]+):(\S+)$/.exec(text) ?? [];
  switch (scheme.toLowerCase()) {
    case "unix":
    case "unixs":
      return `${scheme.toLowerCase()}:${rest}`;
    case "http":
    case "https":
      return isWebAddress(rest) ? `${scheme.toLowerCase()}:${rest}` : undefined;
    default:
      return undefined;
  }
}

/** `//host:port`, maybe with a user or a query; an IPv6 address stands in brackets. */
function isWebAddress(rest: string): boolean {
  return /^\/\/([^/?#@]*@)?(\[[0-9A-Fa-f:.%]+\]|[^:[\]/?#@]*):\d*([?#].*)?$/.test(rest);
}
