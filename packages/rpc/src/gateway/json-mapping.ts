/**
 * Between the JSON of the gateway and the messages of a method, by way of the generated types.
 *
 * Options are etcd's: names as in the proto files on output, unset fields left out, unknown fields
 * and unknown names of enumerations passed over on input.
 */

import { isUtf8 } from "node:buffer";

import { fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import { InvariantError, WireReader, WireWriter } from "@etcd-ts/base";

import type { AnyMethod } from "../call.ts";
import { normalizeFields } from "./json-strictness.ts";
import { parseJson } from "./json-value.ts";

const READ_OPTIONS = { ignoreUnknownFields: true } as const;
const WRITE_OPTIONS = { useProtoFieldName: true } as const;

/**
 * The request in a JSON object; no bytes mean the empty request.
 *
 * @throws {RpcError} InvalidArgument, or ResourceExhausted if it is too large as a message
 */
export function requestFromJson(
  method: AnyMethod,
  json: Uint8Array,
  messageBytesMax: number,
): unknown {
  const bytes = binaryFromJson(method, json);
  if (bytes.length > messageBytesMax) {
    throw new RpcError(
      "RESOURCE_EXHAUSTED",
      GRPC_CODES.RESOURCE_EXHAUSTED,
      `grpc: received message larger than max (${bytes.length} vs. ${messageBytesMax})`,
    );
  }
  return refuse(() => method.request.decode(new WireReader(bytes)));
}

function binaryFromJson(method: AnyMethod, json: Uint8Array): Uint8Array {
  if (json.length === 0) return json;
  return refuse(() => {
    if (!isUtf8(json)) throw new RangeError("proto: syntax error: invalid UTF-8");
    const text = Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString();
    const value = parseJson(text);
    normalizeFields(method.requestSchema, value);
    return toBinary(method.requestSchema, fromJson(method.requestSchema, value, READ_OPTIONS));
  });
}

/** Whatever is wrong with a request's text is the caller's fault, nesting too deep included. */
function refuse<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof InvariantError) throw error;
    throw new RpcError(
      "INVALID_ARGUMENT",
      GRPC_CODES.INVALID_ARGUMENT,
      error instanceof Error ? error.message : String(error),
      { cause: error },
    );
  }
}

let sharedWriter = new WireWriter(4096);
const WRITER_KEPT_BYTES = 256 * 1024;

export function jsonFromResponse(method: AnyMethod, response: unknown): string {
  const writer = sharedWriter;
  writer.reset();
  method.response.encode(response, writer);
  const message = fromBinary(method.responseSchema, writer.view());
  const json = JSON.stringify(toJson(method.responseSchema, message, WRITE_OPTIONS));
  if (writer.length > WRITER_KEPT_BYTES) sharedWriter = new WireWriter(4096);
  return json;
}

/** google.rpc.Status as JSON. */
export function jsonFromStatus(code: number, message: string): string {
  return JSON.stringify(message === "" ? { code } : { code, message });
}

/** Escapes what Go's encoder escapes inside chunks of a stream, so that HTML cannot hide in it. */
export function escapeForStream(json: string): string {
  return json.replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
