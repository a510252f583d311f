/**
 * Who may call the HTTP side of a client listener: host names of plain requests (against DNS
 * rebinding), origins of browsers, and no certificates that would be taken for users.
 */

import { STATUS_CODES } from "node:http";
import { TLSSocket } from "node:tls";
import { gatewayPath } from "@etcd-ts/rpc";
import type { HttpHandler, HttpRequest, UpgradeHandler } from "@etcd-ts/rpc";
import { commonNameOf } from "../tls/certificate-checks.ts";
import { replyError } from "./replies.ts";
import { requestTarget } from "./request-target.ts";

export interface AccessControlOptions {
  /** Origins; `*` or none for all. */
  readonly cors: readonly string[];
  /** Host names; `*` or none for all. Over TLS the certificate has answered that question. */
  readonly hostWhitelist: readonly string[];
  /** Whether the common name of a certificate is a user just now, where gRPC is spoken. */
  readonly areCertificatesUsers: () => boolean;
}

interface Refusal {
  readonly status: number;
  readonly text: string;
}

/** Through the gateway a certificate is no user, and saying nothing would be a trap. */
const COMMON_NAME_IGNORED: Refusal = {
  status: 400,
  text: "CommonName of client sending a request against gateway will be ignored and not used as expected",
};

const FOREIGN_ORIGIN: Refusal = {
  status: 403,
  text: "websockets are not open to pages of this origin; see --cors",
};

export function withAccessControl(options: AccessControlOptions, next: HttpHandler): HttpHandler {
  const refusalOf = accessCheck(options);
  const allowedOrigin = originCheck(options);
  return (request, response) => {
    const refusal = refusalOf(request);
    if (refusal !== undefined) {
      replyError(response, refusal.status, refusal.text);
      return;
    }
    const origin = allowedOrigin(request.headers.origin);
    if (origin !== undefined) addCORSHeaders(response, origin);
    if (request.method === "OPTIONS") {
      response.writeHead(200, { "Content-Length": 0 });
      response.end();
      return;
    }
    next(request, response);
  };
}

/**
 * The same rules for requests that ask for another protocol. Browsers do not keep pages of other
 * origins from websockets, so this does.
 */
export function withUpgradeControl(
  options: AccessControlOptions,
  next: UpgradeHandler,
): UpgradeHandler {
  const refusalOf = accessCheck(options);
  const allowedOrigin = originCheck(options);
  return (request, socket, head) => {
    const { origin } = request.headers;
    const isForeign = origin !== undefined && allowedOrigin(origin) === undefined;
    const refusal = refusalOf(request) ?? (isForeign ? FOREIGN_ORIGIN : undefined);
    if (refusal === undefined) return next(request, socket, head);
    const { status } = refusal;
    const body = `${refusal.text}\n`;
    socket.end(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
    return true;
  };
}

function accessCheck(options: AccessControlOptions): (request: HttpRequest) => Refusal | undefined {
  const hosts = new Set(options.hostWhitelist);
  const isAnyHost = hosts.size === 0 || hosts.has("*");
  return (request) => {
    const { socket } = request;
    if (socket instanceof TLSSocket) {
      const path = gatewayPath(requestTarget(request)?.pathname ?? "");
      const isForGateway = path?.startsWith("/v3/") === true;
      if (!isForGateway || !options.areCertificatesUsers()) return undefined;
      const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
      const isNamed = certificate !== undefined && commonNameOf(certificate) !== "";
      return isNamed ? COMMON_NAME_IGNORED : undefined;
    }
    if (isAnyHost) return undefined;
    const host = hostName(authorityOf(request));
    return hosts.has(host) ? undefined : { status: 421, text: unrecognizedHost(host) };
  };
}

/** The value of the header that lets a page read the answer; undefined if it may not. */
function originCheck(
  options: AccessControlOptions,
): (origin: string | undefined) => string | undefined {
  const origins = new Set(options.cors);
  if (origins.size === 0 || origins.has("*")) return () => "*";
  return (origin) => (origin !== undefined && origins.has(origin) ? origin : undefined);
}

/** Of a whole URL as the target, or else of the header. */
function authorityOf(request: HttpRequest): string {
  const whole = /^https?:\/\/([^/?#]*)/i.exec(request.url ?? "");
  if (whole !== null) return whole[1]!;
  return request.headers.host ?? String(request.headers[":authority"] ?? "");
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
