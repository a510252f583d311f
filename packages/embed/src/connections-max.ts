/** How many connections a client listener takes: what the system allows, less what the member needs. */

import { readFileSync } from "node:fs";
import { ConfigError } from "./listen-url.ts";

/** Descriptors kept for files, peers and the program itself; etcd's number. */
export const RESERVED_DESCRIPTORS = 150;

/** Undefined where the system does not tell. @throws {ConfigError} if the limit leaves none */
export function connectionsMax(path = "/proc/self/limits"): number | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
  const limit = /^Max open files\s+(\d+)/m.exec(text)?.[1];
  if (limit === undefined) return undefined;
  if (Number(limit) > RESERVED_DESCRIPTORS) return Number(limit) - RESERVED_DESCRIPTORS;
  throw new ConfigError(
    `file descriptor limit of etcd process is too low; please set higher (limit ${limit}, recommended-limit ${RESERVED_DESCRIPTORS})`,
  );
}
