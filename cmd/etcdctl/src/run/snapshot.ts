/**
 * snapshot save: the member's database into a file.
 *
 * Invariant: the name asked for appears only when the whole file is on the disk under it. Until
 * then it is `<name>.part`, which is removed when anything goes wrong, an interruption included.
 */

import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { equalBytes } from "@etcd-ts/base";
import { err, humanBytes, out } from "@etcd-ts/cli";
import { errorText } from "@etcd-ts/client";
import type { Client } from "@etcd-ts/client";

import { logLine } from "../context.ts";
import type { Context } from "../context.ts";
import { badArguments, EXIT, ExitError, fileErrorText } from "../exit.ts";

/** A snapshot is whole sectors and a SHA-256. */
const SECTOR_BYTES = 512;
const CHECKSUM_BYTES = 32;
const FILE_MODE = 0o600;

export async function save(context: Context): Promise<void> {
  const [path] = context.args;
  if (path === undefined || context.args.length !== 1) {
    throw badArguments("snapshot save expects one argument <filename>");
  }
  const endpoints = await context.endpoints();
  if (endpoints.length !== 1) {
    throw interrupted(
      `snapshot must be requested to one selected node, not multiple [${endpoints.join(" ")}]`,
    );
  }
  const client = await context.client();
  const timeout = context.flags.isExplicit("command-timeout") ? context.timeout : {};
  const partPath = `${path}.part`;
  const removePart = (): void => rmSync(partPath, { force: true });
  const onSignal = (): void => {
    removePart();
    err("Error: interrupted; nothing was saved\n");
    process.exit(EXIT.interrupted);
  };
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  try {
    const version = await fetchInto(client, partPath, endpoints[0]!, timeout);
    moveTo(partPath, path);
    // From here on it would not be true that nothing was saved.
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    logLine("info", "saved", { path });
    out(`Snapshot saved at ${path}\n`);
    if (version !== "") out(`Server version ${version}\n`);
  } catch (error) {
    removePart();
    throw error instanceof ExitError ? error : interrupted(errorText(error));
  }
}

function interrupted(message: string): ExitError {
  return new ExitError(EXIT.interrupted, message);
}

/** Writes the stream, checks its size and checksum, and syncs it. @returns the server's version */
async function fetchInto(
  client: Client,
  partPath: string,
  endpoint: string,
  timeout: { readonly timeoutMs?: number },
): Promise<string> {
  let file: number;
  try {
    file = openSync(partPath, "w", FILE_MODE);
  } catch (cause) {
    throw interrupted(`could not open ${partPath} (open ${partPath}: ${fileErrorText(cause)})`);
  }
  try {
    logLine("info", "created temporary db file", { path: partPath });
    const start = performance.now();
    const { version, parts } = await client.maintenance.snapshotWithVersion(timeout);
    logLine("info", "fetching snapshot", { endpoint });
    const target = new SnapshotTarget(file, partPath);
    try {
      for await (const { blob } of parts) target.write(blob);
    } catch (cause) {
      if (cause instanceof ExitError) throw cause;
      throw interrupted(`could not write snapshot: ${errorText(cause)}`);
    }
    target.verify();
    fsyncSync(file);
    logLine("info", "fetched snapshot", {
      endpoint,
      size: humanBytes(target.bytes),
      took: `${((performance.now() - start) / 1000).toFixed(3)}s`,
      "etcd-version": version,
    });
    return version;
  } finally {
    closeSync(file);
  }
}

/** The file as it grows; keeps back what may be the checksum. */
class SnapshotTarget {
  readonly #file: number;
  readonly #path: string;
  readonly #hash = createHash("sha256");
  #tail: Uint8Array = new Uint8Array(0);
  bytes = 0;

  constructor(file: number, path: string) {
    this.#file = file;
    this.#path = path;
  }

  /** @throws {ExitError} if the disk does not take it */
  write(chunk: Uint8Array): void {
    const joined = Buffer.concat([this.#tail, chunk]);
    const end = Math.max(0, joined.length - CHECKSUM_BYTES);
    this.#hash.update(joined.subarray(0, end));
    this.#tail = joined.subarray(end);
    try {
      for (let offset = 0; offset < chunk.length;) {
        offset += writeSync(this.#file, chunk, offset);
      }
    } catch (cause) {
      const reason = `write ${this.#path}: ${fileErrorText(cause)}`;
      throw interrupted(`could not write snapshot: ${reason}`);
    }
    this.bytes += chunk.length;
  }

  /** @throws {ExitError} if this is no whole snapshot */
  verify(): void {
    if (this.bytes % SECTOR_BYTES !== CHECKSUM_BYTES) {
      throw interrupted(`sha256 checksum not found [bytes: ${this.bytes}]`);
    }
    if (!equalBytes(this.#hash.digest(), this.#tail)) {
      throw interrupted("the snapshot's sha256 checksum does not fit its data; try again");
    }
  }
}

/** Gives the file its name, for good. */
function moveTo(partPath: string, path: string): void {
  try {
    renameSync(partPath, path);
  } catch (cause) {
    throw interrupted(`could not rename ${partPath} to ${path} (${fileErrorText(cause)})`);
  }
  const directory = openSync(dirname(path), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
