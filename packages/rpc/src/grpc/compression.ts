/**
 * gzip of single messages, and the refusals around it.
 *
 * Invariant: inflating stops at the receive maximum, so a small message cannot become a large one.
 */

import { gunzipSync, gzipSync } from "node:zlib";

import { GRPC_CODES, RpcError } from "@etcd-ts/api";

import type { Frame } from "./framing.ts";

/** Values of `grpc-encoding` understood here; everything else is refused. */
export type MessageEncoding = "identity" | "gzip";

/** @returns undefined for an encoding nobody installed */
export function messageEncoding(name: string | undefined): MessageEncoding | undefined {
  if (name === undefined || name === "" || name === "identity") return "identity";
  return name === "gzip" ? "gzip" : undefined;
}

/** grpc-go's answer to an encoding it does not know. */
export function unknownEncoding(name: string): RpcError {
  const text = `grpc: Decompressor is not installed for grpc-encoding ${JSON.stringify(name)}`;
  return new RpcError("UNIMPLEMENTED", GRPC_CODES.UNIMPLEMENTED, text);
}

/**
 * The message inside a frame.
 *
 * @throws {RpcError} with grpc-go's status
 */
export function inflateFrame(
  frame: Frame,
  encoding: MessageEncoding,
  messageBytesMax: number,
): Uint8Array {
  if (!frame.compressed) return frame.payload;
  if (encoding === "identity") {
    throw internal("grpc: compressed flag set with identity or empty encoding");
  }
  try {
    return gunzipSync(frame.payload, { maxOutputLength: messageBytesMax });
  } catch (error) {
    if (error instanceof RangeError) {
      throw new RpcError(
        "RESOURCE_EXHAUSTED",
        GRPC_CODES.RESOURCE_EXHAUSTED,
        `grpc: received message after decompression larger than max ${messageBytesMax}`,
      );
    }
    const text = error instanceof Error ? error.message : String(error);
    throw internal(`grpc: failed to decompress the message: ${text}`, { cause: error });
  }
}

export function deflateMessage(message: Uint8Array): Uint8Array {
  return gzipSync(message);
}

function internal(message: string, options?: ErrorOptions): RpcError {
  return new RpcError("INTERNAL", GRPC_CODES.INTERNAL, message, options);
}
