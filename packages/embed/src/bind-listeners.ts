/** Binds all listeners of a member, or none. */

import type { Logger } from "@etcd-ts/base";
import type { EmbedConfig } from "./config.ts";
import { connectionsMax } from "./connections-max.ts";
import { Listener } from "./listener.ts";
import { bindAddress } from "./listen-url.ts";
import type { ListenURL } from "./listen-url.ts";
import type { ListenerKind, MemberTLS } from "./tls/member-tls.ts";
import { isSecure } from "./tls/transport-security.ts";

export interface Bound {
  readonly peer: readonly Listener[];
  readonly client: readonly Listener[];
  readonly clientHTTP: readonly Listener[];
  readonly metrics: readonly Listener[];
}

export function allListeners(bound: Bound): Listener[] {
  return [...bound.peer, ...bound.client, ...bound.clientHTTP, ...bound.metrics];
}

/** @throws {ListenError | ConfigError | TLSMaterialError} with nothing left bound */
export async function bindAll(config: EmbedConfig, tls: MemberTLS, logger: Logger): Promise<Bound> {
  const opened: Listener[] = [];
  const clientConnectionsMax = connectionsMax();
  const bind = async (
    kind: ListenerKind,
    groups: readonly URLGroup[],
  ): Promise<readonly Listener[]> => {
    const listeners: Listener[] = [];
    for (const urls of groups) {
      const secure = urls.find(isSecure);
      const listener = await Listener.bind(urls, {
        tls: secure === undefined ? undefined : tls.server(kind, secure),
        connectionsMax: kind === "client" ? clientConnectionsMax : undefined,
      });
      opened.push(listener);
      listeners.push(listener);
    }
    return listeners;
  };
  const texts = (urls: readonly ListenURL[]): string[] => urls.map(({ text }) => text);
  try {
    logger.info("configuring peer listeners", {
      "listen-peer-urls": texts(config.listenPeerURLs),
    });
    const peer = await bind("peer", byURL(config.listenPeerURLs));
    logger.info("configuring client listeners", {
      "listen-client-urls": texts(config.listenClientURLs),
    });
    const client = await bind("client", byAddress(config.listenClientURLs));
    const clientHTTP = await bind("client", byAddress(config.listenClientHTTPURLs));
    const metrics = await bind("metrics", byURL(config.listenMetricsURLs));
    return { peer, client, clientHTTP, metrics };
  } catch (error) {
    await Promise.all(opened.map((listener) => listener.close()));
    throw error;
  }
}

type URLGroup = readonly [ListenURL, ...ListenURL[]];

function byURL(urls: readonly ListenURL[]): URLGroup[] {
  return urls.map((url) => [url]);
}

/** One listener for each address, whatever the schemes. */
function byAddress(urls: readonly ListenURL[]): URLGroup[] {
  const groups = new Map<string, [ListenURL, ...ListenURL[]]>();
  for (const url of urls) {
    const group = groups.get(bindAddress(url));
    if (group === undefined) groups.set(bindAddress(url), [url]);
    else if (!group.some(({ scheme }) => scheme === url.scheme)) group.push(url);
  }
  return [...groups.values()];
}
