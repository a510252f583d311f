/** Why an `--initial-cluster` does not fit a member, in etcd's words; undefined where it does. */

type URLsByName = ReadonlyMap<string, readonly string[]>;

export function refusalOfName(name: string, cluster: URLsByName): string | undefined {
  if (cluster.has(name)) return undefined;
  return `couldn't find local name ${JSON.stringify(name)} in the initial cluster configuration`;
}

/** No two members, and no member twice, may be at one URL. */
export function refusalOfDuplicates(cluster: URLsByName): string | undefined {
  const urls = [...cluster.values()].flat();
  if (new Set(urls).size === urls.length) return undefined;
  const parts = [...cluster].flatMap(([name, list]) => list.map((url) => `${name}=${url}`));
  return `initial cluster ${parts.sort().join(",")} has duplicate url`;
}

/**
 * What a member advertises must be what the others are told of it.
 *
 * @param own - its URLs in the cluster
 * @param difference - what was found to differ after host names were resolved, if they were
 */
export function refusalOfURLs(
  name: string,
  own: readonly string[],
  advertised: readonly string[],
  difference?: string,
): string | undefined {
  const named = (urls: readonly string[]): string => urls.map((url) => `${name}=${url}`).join(",");
  const unadvertised = own.filter((url) => !advertised.includes(url));
  if (unadvertised.length > 0) {
    const reason = difference === undefined ? "" : ` (${difference})`;
    return `--initial-cluster has ${named(unadvertised)} but missing from --initial-advertise-peer-urls=${advertised.join(",")}${reason}`;
  }
  const unlisted = advertised.filter((url) => !own.includes(url));
  if (unlisted.length > 0) {
    return `--initial-advertise-peer-urls has ${unlisted.join(",")} but missing from --initial-cluster=${named(advertised)}`;
  }
  if (difference === undefined) return undefined;
  return `failed to resolve ${advertised.join(",")} to match --initial-cluster=${named(advertised)} (${difference})`;
}
