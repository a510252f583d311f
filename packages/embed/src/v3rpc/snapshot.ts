/**
 * The image of the backend as a stream: chunks of the file with what remains after each, then the
 * SHA-256 of all of them.
 *
 * Invariant: one chunk is read ahead of a caller that does not read; the image is closed however
 * the call ends.
 */

import { createHash } from "node:crypto";

import { rpcErrorFrom } from "@etcd-ts/api";
import type { SnapshotRequest, SnapshotResponse } from "@etcd-ts/api";
import { invariant, formatGoDuration } from "@etcd-ts/base";
import type { StreamCall } from "@etcd-ts/rpc";
import type { BackendSnapshot } from "@etcd-ts/storage";

import { CallLife } from "./call-life.ts";
import { contextOf } from "./headers.ts";
import type { ServiceParts } from "./parts.ts";
import { formatBytes } from "./texts.ts";

type SnapshotCall = StreamCall<SnapshotRequest, SnapshotResponse>;

export function sendSnapshot(parts: ServiceParts, call: SnapshotCall): void {
  const life = new CallLife(call, parts.openCalls);
  const sent = sendWhole(parts, call, life);
  sent.then(
    () => {
      life.close();
      call.end();
    },
    (error: unknown) => {
      life.close();
      call.fail(rpcErrorFrom(error));
    },
  );
}

async function sendWhole(parts: ServiceParts, call: SnapshotCall, life: CallLife): Promise<void> {
  const { server, logger, clock } = parts;
  const { version, image } = await server.snapshot(contextOf(call));
  try {
    const startMs = clock.monotonicMs();
    const size = { "total-bytes": image.sizeBytes, size: formatBytes(image.sizeBytes) };
    logger.info("sending database snapshot to client", { ...size, "storage-version": version });
    const digest = await sendImage(image, version, call, life);
    logger.info("sending database sha256 checksum to client", {
      "total-bytes": image.sizeBytes,
      "checksum-size": digest.length,
    });
    call.send(response(digest, 0, version));
    logger.info("successfully sent database snapshot to client", {
      ...size,
      took: formatGoDuration(clock.monotonicMs() - startMs),
      "storage-version": version,
    });
  } finally {
    image.close();
  }
}

/** @returns the SHA-256 of the image */
async function sendImage(
  image: BackendSnapshot,
  version: string,
  call: SnapshotCall,
  life: CallLife,
): Promise<Uint8Array> {
  const hash = createHash("sha256");
  let remaining = image.sizeBytes;
  for await (const chunk of image.chunks()) {
    life.throwIfEnded();
    remaining -= chunk.length;
    invariant(remaining >= 0, () => `sendImage: ${-remaining} bytes more than announced`);
    hash.update(chunk);
    if (!call.send(response(chunk, remaining, version))) await life.untilDrained(call);
  }
  invariant(remaining === 0, () => `sendImage: ${remaining} bytes are missing`);
  life.throwIfEnded();
  return hash.digest();
}

function response(blob: Uint8Array, remainingBytes: number, version: string): SnapshotResponse {
  return {
    $typeName: "etcdserverpb.SnapshotResponse",
    remainingBytes: BigInt(remainingBytes),
    blob,
    version,
  };
}
