/** Who is at the other end of a socket, as Go prints it: `host:port`, or `@` for a unix socket. */

import type { Socket } from "node:net";

export function remoteAddressOf({ remoteAddress: host, remotePort: port }: Socket): string {
  if (host === undefined) return "@";
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
