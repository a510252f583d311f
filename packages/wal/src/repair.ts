/**
 * Makes the last segment end where its last whole record ends.
 *
 * Before anything is cut off, the segment is copied to `<name>.broken`, so a torn tail can be looked
 * at afterwards.
 */

import type { Disk, DiskFile } from "@etcd-ts/base";

const COPY_BYTES = 1 << 20;

/** Copies `file`, zeros as holes, and makes the copy durable. An older copy is replaced. */
export async function copyBroken(disk: Disk, file: DiskFile, path: string): Promise<void> {
  const copy = await disk.open(`${path}.broken`, { mode: "truncate" });
  try {
    const sizeBytes = file.sizeBytes();
    for (let at = 0; at < sizeBytes; at += COPY_BYTES) {
      const bytes = new Uint8Array(Math.min(COPY_BYTES, sizeBytes - at));
      file.read(bytes, at);
      if (bytes.some((byte) => byte !== 0)) await copy.write([bytes], at);
    }
    await copy.truncate(sizeBytes);
    await copy.sync();
  } finally {
    await copy.close();
  }
}

/** Cuts `file` at `endBytes` and fills it up with zeros to `sizeBytes` again. */
export async function zeroFrom(file: DiskFile, endBytes: number, sizeBytes: number): Promise<void> {
  await file.truncate(endBytes);
  await file.preallocate(Math.max(endBytes, sizeBytes));
  await file.sync();
}
