/**
 * A request's header fields, checked and understood.
 *
 * Clients send the same fields again and again, but for the time-out. A connection remembers the
 * heads it saw last, and a repeated one costs a comparison of references.
 *
 * Invariant: a head in the cache is the one its fields would be read to again.
 */

import type { RpcError } from "@etcd-ts/api";

import { grpcContentType } from "../grpc/content-type.ts";
import { decodeMetadata } from "../grpc/headers.ts";
import type { Metadata } from "../metadata.ts";
import type { Route, ServiceTable } from "../service-table.ts";
import { FieldKind } from "./header-field.ts";
import type { HeaderField } from "./header-field.ts";
import { HTTP2_HEADS_MAX } from "./limits.ts";

/** What makes a request a gRPC call. */
export interface CallHead {
  /** To answer with. */
  readonly contentType: string;
  /** Shared by all calls with this head; a text if the fields are refused. */
  readonly metadata: Metadata | string;
  readonly route: Route | RpcError;
  readonly encoding: string | undefined;
}

export interface RequestHead {
  /** All but the time-out, in order. */
  readonly fields: readonly HeaderField[];
  readonly method: string;
  readonly scheme: string;
  readonly authority: string | undefined;
  readonly path: string;
  readonly contentType: string | undefined;
  /** -1 if the client did not say. */
  readonly contentLength: number;
  readonly call: CallHead | undefined;
}

export class HeadCache {
  readonly #table: ServiceTable;
  readonly #heads: RequestHead[] = [];
  #next = 0;
  #timeout: string | undefined;

  constructor(table: ServiceTable) {
    this.#table = table;
  }

  /** `grpc-timeout` of the head returned last. */
  get timeout(): string | undefined {
    return this.#timeout;
  }

  /** @returns undefined if the request is malformed: RFC 9113, section 8.1.1 */
  read(fields: readonly HeaderField[]): RequestHead | undefined {
    for (const head of this.#heads) if (this.#matches(head, fields)) return head;
    const head = this.#readFields(fields);
    if (head?.call !== undefined) {
      this.#heads[this.#next] = head;
      this.#next = (this.#next + 1) % HTTP2_HEADS_MAX;
    }
    return head;
  }

  #matches(head: RequestHead, fields: readonly HeaderField[]): boolean {
    const known = head.fields;
    this.#timeout = undefined;
    let at = 0;
    for (const field of fields) {
      const { kind } = field.header;
      if (kind === FieldKind.GRPC_TIMEOUT) {
        if (!field.isValid || (at < known.length && isPseudo(known[at]!))) return false;
        this.#timeout = field.value;
        continue;
      }
      const same = known[at++];
      if (same === field) continue;
      if (same === undefined || same.value !== field.value || same.name !== field.name) {
        return false;
      }
    }
    return at === known.length;
  }

  #readFields(all: readonly HeaderField[]): RequestHead | undefined {
    this.#timeout = undefined;
    const fields: HeaderField[] = [];
    const byKind: (string | undefined)[] = [];
    let pseudoEnded = false;
    for (const field of all) {
      const { kind } = field.header;
      if (!field.isValid) return undefined;
      if (isPseudo(field)) {
        if (pseudoEnded || byKind[kind] !== undefined) return undefined;
        if (kind === FieldKind.UNKNOWN_PSEUDO) return undefined;
      } else pseudoEnded = true;
      if (kind === FieldKind.FORBIDDEN) return undefined;
      if (kind === FieldKind.TE && field.value !== "trailers") return undefined;
      if (kind === FieldKind.GRPC_TIMEOUT) {
        this.#timeout = field.value;
        continue;
      }
      const earlier = byKind[kind];
      if (kind === FieldKind.CONTENT_LENGTH && (earlier ?? field.value) !== field.value) {
        return undefined;
      }
      fields.push(field);
      byKind[kind] ??= field.value;
    }
    return this.#headOf(fields, byKind);
  }

  #headOf(
    fields: readonly HeaderField[],
    byKind: readonly (string | undefined)[],
  ): RequestHead | undefined {
    const method = byKind[FieldKind.METHOD];
    const scheme = byKind[FieldKind.SCHEME];
    const authority = byKind[FieldKind.AUTHORITY];
    const path = byKind[FieldKind.PATH] ?? "";
    const contentLength = readContentLength(byKind[FieldKind.CONTENT_LENGTH]);
    if (method === undefined || method === "" || scheme === undefined) return undefined;
    if (authority !== undefined && !/^[!-~]*$/.test(authority)) return undefined;
    if (contentLength === undefined) return undefined;
    const contentType = byKind[FieldKind.CONTENT_TYPE];
    const answered = grpcContentType(contentType);
    // A call with a strange path gets a status that says so; other requests are malformed.
    if (answered === undefined && !path.startsWith("/") && path !== "*") return undefined;
    const call: CallHead | undefined =
      answered === undefined
        ? undefined
        : {
            contentType: answered,
            metadata: decodeMetadata(rawHeaders(fields)),
            route: this.#table.find(path),
            encoding: byKind[FieldKind.GRPC_ENCODING],
          };
    return { fields, method, scheme, authority, path, contentType, contentLength, call };
  }
}

/** Whether `fields` may end a request: RFC 9113, section 8.1. */
export function areTrailersValid(fields: readonly HeaderField[]): boolean {
  return fields.every((field) => field.isValid && !isPseudo(field));
}

/** Names and values in turn. */
export function rawHeaders(fields: readonly HeaderField[]): string[] {
  const raw: string[] = [];
  for (const field of fields) raw.push(field.name, field.value);
  return raw;
}

function isPseudo(field: HeaderField): boolean {
  const { kind } = field.header;
  return kind >= FieldKind.METHOD && kind <= FieldKind.UNKNOWN_PSEUDO;
}

/** @returns -1 if absent, undefined if malformed */
function readContentLength(text: string | undefined): number | undefined {
  if (text === undefined) return -1;
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
