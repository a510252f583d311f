/** Endpoints as etcd's clients write them: `host:port`, `http://`, `https://`, `unix:path`. */

import { EtcdError } from "@etcd-ts/base";
import type { NetworkAddress } from "@etcd-ts/base";

/** An endpoint that cannot be understood. */
export class EndpointError extends EtcdError {
  readonly code = "ENDPOINT";
}

export interface Endpoint {
  /** As it was given. */
  readonly text: string;
  readonly address: NetworkAddress;
  /** Undefined where the text says nothing of TLS: the client's options decide. */
  readonly isSecure: boolean | undefined;
}

const DEFAULT_PORT = 2379;

/** @throws {EndpointError} */
export function parseEndpoint(text: string): Endpoint {
  const scheme = /^(https?|unixs?):(\/\/)?/.exec(text);
  const rest = scheme === null ? text : text.slice(scheme[0].length);
  const isSecure = scheme === null ? undefined : scheme[1]!.endsWith("s");
  if (scheme !== null && scheme[1]!.startsWith("unix")) {
    if (rest === "") throw new EndpointError(`endpoint ${JSON.stringify(text)} has no path`);
    // As with etcd's own client, `unix:` leaves it to the options.
    return {
      text,
      address: { kind: "unix", path: rest },
      isSecure: isSecure === true ? true : undefined,
    };
  }
  const match = /^(\[[^\]]+\]|[^:/?#\s]+)(?::(\d+))?\/?$/.exec(rest);
  const port = Number(match?.[2] ?? DEFAULT_PORT);
  if (match === null || port > 65_535) {
    throw new EndpointError(`endpoint ${JSON.stringify(text)} is no host:port`);
  }
  const host = match[1]!.replace(/^\[|\]$/g, "");
  return { text, address: { kind: "tcp", host, port }, isSecure };
}
