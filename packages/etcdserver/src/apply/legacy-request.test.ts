import { expect, test } from "vitest";

import { V2RequestSchema, generatedCodec } from "@etcd-ts/api";
import type { V2Request } from "@etcd-ts/api";
import { WireWriter, decodeMessage } from "@etcd-ts/base";

import { operationFromV2 } from "./legacy-request.ts";

function request(method: string, path: string, value: string): V2Request {
  const writer = new WireWriter();
  writer.stringField(2, method);
  writer.stringField(3, path);
  writer.stringField(4, value);
  return decodeMessage(generatedCodec(V2RequestSchema), writer.finish());
}

test("operationFromV2() reads attributes and the cluster version, and nothing else", () => {
  const attributes = `{"name":"n","clientURLs":["http://a:1"]}`;
  expect(
    operationFromV2(request("PUT", "/0/members/8e9e05c52164694d/attributes", attributes)),
  ).toMatchObject({
    kind: "clusterMemberAttrSet",
    request: {
      memberID: 0x8e9e05c52164694dn,
      memberAttributes: { name: "n", clientUrls: ["http://a:1"] },
    },
  });
  expect(operationFromV2(request("PUT", "/0/version", "3.5.0"))).toMatchObject({
    kind: "clusterVersionSet",
    request: { ver: "3.5.0" },
  });
  for (const [method, path] of [
    ["PUT", "/1/key"],
    ["DELETE", "/0/version"],
    ["PUT", "/0/members/xyz/attributes"],
  ] as const) {
    expect(() => operationFromV2(request(method, path, "x"))).toThrow(`${method} ${path}`);
  }
  expect(() => operationFromV2(request("PUT", "/0/members/1/attributes", "{"))).toThrow(
    "failed to unmarshal",
  );
});
