/** Small answers in the shape Go's net/http gives them. */

import type { HttpRequest, HttpResponse } from "@etcd-ts/rpc";

/** `http.Error`: plain text, a newline, and no sniffing. */
export function replyError(response: HttpResponse, status: number, text: string): void {
  const body = `${text}\n`;
  response.writeHead(status, {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}

export function reply(
  response: HttpResponse,
  status: number,
  contentType: string,
  body: string,
): void {
  response.writeHead(status, {
    "Content-Type": contentType,
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}

export function replyNotFound(response: HttpResponse): void {
  replyError(response, 404, "404 page not found");
}

/** Answers 405 unless the method is `method`. @returns whether it is */
export function allowMethod(request: HttpRequest, response: HttpResponse, method: string): boolean {
  if (request.method === method) return true;
  response.setHeader("Allow", method);
  replyError(response, 405, "Method Not Allowed");
  return false;
}
