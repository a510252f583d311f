/** Header blocks that nearly every answer has. */

import { RepeatedBlock } from "./hpack-encoder.ts";
import type { FieldToSend } from "./hpack-encoder.ts";

export const STATUS_200: FieldToSend = [":status", "200", "without"];
export const HEADERS_PLAIN = new RepeatedBlock([
  STATUS_200,
  ["content-type", "application/grpc", "add"],
]);
export const TRAILERS_OK = new RepeatedBlock([
  ["grpc-status", "0", "add"],
  ["grpc-message", "", "add"],
]);
