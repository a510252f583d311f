/**
 * The checksum a snapshot file ends with: SHA-256 of the database image before it.
 *
 * An image is a multiple of 512 bytes, so a file has a checksum if 32 bytes are over.
 */

import { Sha256, SHA256_BYTES, equalBytes } from "@etcd-ts/base";
import type { DiskFile } from "@etcd-ts/base";
import { DataDirectoryError } from "./errors.ts";
import type { OnProgress } from "./progress.ts";

const SECTOR_BYTES = 512;
const CHUNK_BYTES = 1024 * 1024;

/** Bytes between two reports. */
const REPORT_BYTES = 16 * 1024 * 1024;

/** A SHA-256 being made. */
export interface Digest {
  update(bytes: Uint8Array): unknown;
  digest(): Uint8Array;
}

export type NewDigest = () => Digest;

export const newPortableDigest: NewDigest = () => new Sha256();

export function hasChecksum(fileBytes: number): boolean {
  return fileBytes % SECTOR_BYTES === SHA256_BYTES;
}

/** Bytes of the image in a file of `fileBytes`. */
export function imageBytesOf(fileBytes: number): number {
  return hasChecksum(fileBytes) ? fileBytes - SHA256_BYTES : fileBytes;
}

/** The last 32 bytes of the file. */
export function readChecksum(file: DiskFile): Uint8Array {
  const checksum = new Uint8Array(SHA256_BYTES);
  file.read(checksum, file.sizeBytes() - SHA256_BYTES);
  return checksum;
}

/** @throws {DataDirectoryError} with the reference's text */
export function mustMatch(expected: Uint8Array, found: Uint8Array): void {
  if (equalBytes(expected, found)) return;
  throw new DataDirectoryError(
    "CHECKSUM_MISMATCH",
    `expected sha256 [${expected.join(" ")}], got [${found.join(" ")}]`,
  );
}

/**
 * Feeds the first `bytes` of a file to `take`, piece by piece. A piece may be used until the promise
 * `take` gave settles.
 *
 * @throws {DataDirectoryError} if the file ends before
 */
export async function readImage(
  file: DiskFile,
  bytes: number,
  step: string,
  onProgress: OnProgress | undefined,
  take: (chunk: Uint8Array, offsetBytes: number) => Promise<void>,
): Promise<void> {
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, Math.max(1, bytes)));
  let reportedBytes = 0;
  onProgress?.({ step, done: 0, total: bytes });
  for (let offset = 0; offset < bytes;) {
    const wanted = buffer.subarray(0, Math.min(buffer.length, bytes - offset));
    const got = file.read(wanted, offset);
    if (got < wanted.length) {
      const where = `${file.path} ends at byte ${offset + got}`;
      throw new DataDirectoryError("INTEGRITY", `${where}, it was longer when it was opened`);
    }
    await take(wanted, offset);
    offset += got;
    if (offset - reportedBytes < REPORT_BYTES && offset < bytes) continue;
    reportedBytes = offset;
    onProgress?.({ step, done: offset, total: bytes });
  }
}
