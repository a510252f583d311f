/** Ports on loopback that nobody listens on just now. */

import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

/** All different, for they are taken together before they are let go. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Below those Linux gives to outgoing connections. */
const QUIET_PORTS = [12_000, 32_000] as const;
const ATTEMPTS_PER_PORT = 20;

/**
 * As `freePorts`, but none that an outgoing connection of another process may be given in the time
 * before it is listened on.
 */
export async function quietPorts(count: number): Promise<readonly number[]> {
  const [first, end] = QUIET_PORTS;
  const ports = new Set<number>();
  for (let left = count * ATTEMPTS_PER_PORT; ports.size < count; left--) {
    if (left === 0) throw new Error("quietPorts: nearly all ports are taken");
    const port = first + Math.floor(Math.random() * (end - first));
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port!;
}
