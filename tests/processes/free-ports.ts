/**
 * Ports on loopback that nobody listens on, and that nobody takes before whoever asked for them
 * listens: programs are told their ports on their command lines, so there is time in between, and
 * they leave them when they are killed and want them again when they start.
 *
 * - None is of the range from which the system gives ports to outgoing connections.
 * - No other test, of this run or of another one, is given one that is taken: a file per port says so.
 */

import { mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Below those Linux gives to outgoing connections. */
const PORTS = [12_000, 32_000] as const;
const ATTEMPTS_PER_PORT = 50;
/** What a process that was killed had taken is free again after this. */
const TAKEN_MS_MAX = 3_600_000;

const directory = join(tmpdir(), `etcd-ts-ports-${process.getuid?.() ?? 0}`);
const taken = new Set<string>();

process.once("exit", () => {
  for (const path of taken) rmSync(path, { force: true });
});

/** Taken until this process ends. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const [first, end] = PORTS;
  const ports: number[] = [];
  for (let left = count * ATTEMPTS_PER_PORT; ports.length < count; left--) {
    if (left === 0) throw new Error("freePorts: nearly all ports are taken");
    const port = first + Math.floor(Math.random() * (end - first));
    if (take(port) && (await isFree(port))) ports.push(port);
  }
  return ports;
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port!;
}

function take(port: number): boolean {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, String(port));
  try {
    writeFileSync(path, String(process.pid), { flag: "wx", mode: 0o600 });
    taken.add(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  // Not given out at once: another process may be looking at it as well.
  const since = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
  if (Date.now() - since > TAKEN_MS_MAX) rmSync(path, { force: true });
  return false;
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
