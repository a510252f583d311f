import { decodeMessage, encodeMessage } from "@etcd-ts/base";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";

import * as method from "./method.ts";
import { METHODS } from "./method.ts";

test("METHODS has every method of etcd and of gRPC's health service", () => {
  expect(METHODS).toHaveLength(48 + 3);
  expect(new Set(METHODS.map((entry) => entry.path)).size).toBe(METHODS.length);
});

test("METHODS binds 51 distinct gateway paths", () => {
  const paths = METHODS.flatMap((entry) => entry.httpPaths);
  expect(paths).toHaveLength(51);
  expect(new Set(paths).size).toBe(51);
  for (const path of paths) expect(path).toMatch(/^\/v3\/[a-z/-]+$/);
});

test("a table entry is filed under its own name", () => {
  const { METHODS: _all, ...tables } = method;
  for (const [service, methods] of Object.entries(tables)) {
    for (const [name, entry] of Object.entries(methods)) {
      expect(entry.name).toBe(name);
      expect(entry.service.split(".").at(-1)).toBe(service);
      expect(entry.path).toBe(`/${entry.service}/${name}`);
    }
  }
});

test("only these methods stream", () => {
  const streams = METHODS.filter((entry) => entry.kind !== "unary");
  expect(Object.fromEntries(streams.map((entry) => [entry.path, entry.kind]))).toEqual({
    "/etcdserverpb.Lease/LeaseKeepAlive": "bidi",
    "/etcdserverpb.Maintenance/Snapshot": "serverStream",
    "/etcdserverpb.Watch/Watch": "bidi",
    "/grpc.health.v1.Health/Watch": "serverStream",
    "/v3electionpb.Election/Observe": "serverStream",
  });
});

test("the codecs of every method read what its schemas write", () => {
  for (const { request, requestSchema, response, responseSchema } of METHODS) {
    for (const [codec, schema] of [
      [request, requestSchema],
      [response, responseSchema],
    ] as const) {
      const bytes = toBinary(schema, create(schema));
      expect(encodeMessage(codec, decodeMessage(codec, bytes)), schema.typeName).toEqual(bytes);
    }
  }
});
