/** Where connections to peers come from: feature gate SetMemberLocalAddr. */

import { BlockList, isIP } from "node:net";
import type { Logger } from "@etcd-ts/base";
import type { ListenURL } from "../listen-url.ts";
import type { Dial } from "./dial.ts";

/** Addresses nobody elsewhere knows this machine by. */
const UNSUITABLE = new BlockList();
UNSUITABLE.addSubnet("127.0.0.0", 8, "ipv4");
UNSUITABLE.addAddress("0.0.0.0", "ipv4");
UNSUITABLE.addAddress("::1", "ipv6");
UNSUITABLE.addAddress("::", "ipv6");

/** The first address among the URLs others know this member by; undefined if there is none. */
export function memberLocalAddress(
  advertised: readonly Pick<ListenURL, "host" | "text">[],
  logger: Logger,
): string | undefined {
  const fields = { "advertise-peer-urls": advertised.map(({ text }) => text) };
  logger.info("searching for a suitable member local address in AdvertisePeerURLs", fields);
  for (const { host } of advertised) {
    const family = isIP(host);
    if (family === 0 || UNSUITABLE.check(host, family === 4 ? "ipv4" : "ipv6")) continue;
    logger.info("setting member local address", { LocalAddr: host });
    return host;
  }
  logger.warn(
    "unable to set a member local address due to lack of suitable local addresses",
    fields,
  );
  return undefined;
}

/** Dials from one address. */
export function dialFrom(localAddress: string | undefined, dial: Dial): Dial {
  if (localAddress === undefined) return dial;
  return (url, options) => dial(url, { ...options, localAddress });
}
