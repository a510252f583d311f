/**
 * Who may call the HTTP side of a client listener: host names of plain requests (against DNS
 * rebinding), and origins of browsers.
 */

import { STATUS_CODES } from "node:http";
import type { HttpHandler, UpgradeHandler } from "@etcd-ts/rpc";
import { replyError } from "./replies.ts";

export interface AccessControlOptions {
  /** Origins; `*` or none for all. */
  readonly cors: readonly string[];
  /** Host names; `*` or none for all. */
  readonly hostWhitelist: readonly string[];
}

export function withAccessControl(options: AccessControlOptions, next: HttpHandler): HttpHandler {
  const isHostAllowed = hostCheck(options);
  const origins = new Set(options.cors);
  const isAnyOrigin = origins.size === 0 || origins.has("*");
  return (request, response) => {
    const host = hostName(request.headers.host ?? String(request.headers[":authority"] ?? ""));
    if (!isHostAllowed(host)) {
      replyError(response, 421, unrecognizedHost(host));
      return;
    }
    const { origin } = request.headers;
    if (isAnyOrigin) addCORSHeaders(response, "*");
    else if (origin !== undefined && origins.has(origin)) addCORSHeaders(response, origin);
    if (request.method === "OPTIONS") {
      response.writeHead(200, { "Content-Length": 0 });
      response.end();
      return;
    }
    next(request, response);
  };
}

/** The same rule for requests that ask for another protocol. */
export function withUpgradeControl(
  options: Pick<AccessControlOptions, "hostWhitelist">,
  next: UpgradeHandler,
): UpgradeHandler {
  const isHostAllowed = hostCheck(options);
  return (request, socket, head) => {
    const host = hostName(request.headers.host ?? "");
    if (isHostAllowed(host)) {
      next(request, socket, head);
      return;
    }
    const body = unrecognizedHost(host);
    socket.end(
      `HTTP/1.1 421 ${STATUS_CODES[421]}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  };
}

function hostCheck(
  options: Pick<AccessControlOptions, "hostWhitelist">,
): (host: string) => boolean {
  const hosts = new Set(options.hostWhitelist);
  const isAny = hosts.size === 0 || hosts.has("*");
  return (host) => isAny || hosts.has(host);
}

function addCORSHeaders(response: Parameters<HttpHandler>[1], origin: string): void {
  response.setHeader("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE");
  response.setHeader("Access-Control-Allow-Origin", origin);
  response.setHeader("Access-Control-Allow-Headers", "accept, content-type, authorization");
}

/** The host of a Host header, without port and brackets. */
function hostName(authority: string): string {
  const match = /^(?:\[(.*)\]|([^:]*))(?::\d*)?$/.exec(authority);
  return match?.[1] ?? match?.[2] ?? authority;
}

function unrecognizedHost(host: string): string {
  return `
etcd received your request, but the Host header was unrecognized.

To fix this, choose one of the following options:
- Enable TLS, then any HTTPS request will be allowed.
- Add the hostname you want to use to the whitelist in settings.
  - e.g. etcd --host-whitelist ${JSON.stringify(host)}

This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).
`;
}
