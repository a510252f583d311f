/**
 * What a request asks for, from a target that may be anything the HTTP parser lets through.
 *
 * Reading one never throws: a target that is no path is refused, and a path that is not clean is
 * repeated by the client at the clean one, as Go's servers have it.
 */

import type { HttpHandler, HttpRequest, HttpResponse } from "@etcd-ts/rpc";

export interface RequestTarget {
  /** Decoded, one character a byte; begins with a slash. */
  readonly pathname: string;
  readonly query: URLSearchParams;
}

export type TargetHandler = (
  target: RequestTarget,
  request: HttpRequest,
  response: HttpResponse,
) => void;

/** Proxies may send the whole URL. */
const ABSOLUTE_FORM = /^https?:\/\/(?:[^/?#@[\]]*|\[[0-9a-f:.]*\](?::\d*)?)(?=[/?]|$)/i;

/** Undefined for what names nothing here: `*`, another scheme, escapes that are none. */
export function requestTarget({ url = "" }: Pick<HttpRequest, "url">): RequestTarget | undefined {
  const target = url.replace(ABSOLUTE_FORM, "");
  const mark = target.indexOf("?");
  const path = (mark < 0 ? target : target.slice(0, mark)) || "/";
  if (!path.startsWith("/") || /%(?![0-9a-f]{2})/i.test(path)) return undefined;
  const pathname = path.replace(/%([0-9a-f]{2})/gi, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
  return { pathname, query: new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1)) };
}

/** Hands on requests with the target they have, and answers those that have none. */
export function withTarget(next: TargetHandler): HttpHandler {
  return (request, response) => {
    const target = requestTarget(request);
    if (target === undefined) refuseTarget(response);
    else {
      const clean = cleanPath(target.pathname);
      if (clean === target.pathname) next(target, request, response);
      else redirect(request, response, clean);
    }
  };
}

function refuseTarget(response: HttpResponse): void {
  const body = "400 Bad Request";
  response.writeHead(400, {
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": body.length,
  });
  response.end(body);
}

/** Without empty, `.` and `..` segments. */
function cleanPath(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  const clean = `/${segments.join("/")}`;
  return path.endsWith("/") && clean !== "/" ? `${clean}/` : clean;
}

function redirect(request: HttpRequest, response: HttpResponse, path: string): void {
  const url = request.url ?? "";
  const mark = url.indexOf("?");
  const escaped = path.replace(/[^!-~]|[%?#"<>\\^`{|}]/g, percent);
  response.writeHead(307, {
    Location: escaped + (mark < 0 ? "" : url.slice(mark)),
    "Content-Length": 0,
  });
  response.end();
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}
