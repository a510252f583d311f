import { describe, expect, test } from "vitest";
import { embedConfig, parseAutoCompaction, validateConfig } from "./config.ts";
import { defaultFeatureGates, parseFeatureGates } from "./feature-gates.ts";
import { parseListenURL, parseListenURLs } from "./listen-url.ts";
import { NO_TRANSPORT_SECURITY } from "./tls/transport-security.ts";

describe("parseListenURL()", () => {
  test.each([
    ["http://127.0.0.1:2379", "127.0.0.1", 2379],
    ["https://[::1]:2379", "::1", 2379],
    ["http://localhost:0", "localhost", 0],
  ])("takes %s apart", (text, host, port) => {
    expect(parseListenURL(text)).toMatchObject({
      host,
      port,
      address: { kind: "tcp", host, port },
    });
  });

  test("joins host and path of a unix socket", () => {
    expect(parseListenURL("unix:///run/etcd.sock").address).toEqual({
      kind: "unix",
      path: "/run/etcd.sock",
    });
    expect(parseListenURL("unix://localhost:m10").address).toEqual({
      kind: "unix",
      path: "localhost:m10",
    });
  });

  test.each([
    ["ftp://1.2.3.4:2379", "URL scheme must be http, https, unix, or unixs"],
    ["127.0.0.1:2379", "URL scheme must be"],
    ["http://1.2.3.4", 'does not have the form "host:port"'],
    ["http://1.2.3.4:99999", 'does not have the form "host:port"'],
    ["http://127.0.0.1:2379/path", "URL must not contain a path"],
    ["http://127.0.0.1:2379/", "URL must not contain a path"],
  ])("refuses %s", (text, message) => {
    expect(() => parseListenURL(text)).toThrow(message);
  });

  test("parseListenURLs() sorts, and refuses an empty list", () => {
    expect(parseListenURLs("http://b:2,http://a:1").map(({ text }) => text)).toEqual([
      "http://a:1",
      "http://b:2",
    ]);
    expect(() => parseListenURLs("")).toThrow("no valid URLs given");
  });
});

describe("validateConfig()", () => {
  test("accepts the defaults", () => {
    expect(() => validateConfig(embedConfig())).not.toThrow();
  });

  test.each([
    [
      { listenClientURLs: parseListenURLs("http://foo.bar:2379") },
      "expected IP in URL for binding",
    ],
    [{ advertiseClientURLs: parseListenURLs("http://:2379") }, "unexpected empty host"],
    [{ electionTimeoutMs: 100 }, "should be at least as 5 times as --heartbeat-interval[100ms]"],
    [{ electionTimeoutMs: 60_000 }, "is too long, and should be set less than 50000ms"],
    [{ heartbeatIntervalMs: 0 }, "--heartbeat-interval must be >0"],
    [{ logOutputs: ["default", "stdout"] }, 'multi logoutput for "default"'],
    [
      { tlsMinVersion: "TLS1.1" },
      'unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3)',
    ],
    [
      { tlsMinVersion: "TLS1.3", tlsMaxVersion: "TLS1.2" },
      "min version (TLS1.3) is greater than max version (TLS1.2)",
    ],
    [
      { tlsMinVersion: "TLS1.3", cipherSuites: ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"] },
      "cipher suites cannot be configured when only TLS1.3 is enabled",
    ],
    [{ cipherSuites: ["TLS_NONE"] }, 'unexpected TLS cipher suite "TLS_NONE"'],
    [
      {
        peerSecurity: { ...NO_TRANSPORT_SECURITY, allowedCNs: ["a"], allowedHostnames: ["b", "c"] },
      },
      'AllowedCNs and AllowedHostnames are mutually exclusive (cns=["a"], hostnames=["b" "c"])',
    ],
    [
      { clientSecurity: { ...NO_TRANSPORT_SECURITY, clientKeyFile: "k" } },
      "ClientKeyFile and ClientCertFile must both be present or both absent: key: k, cert: ]",
    ],
    [
      {
        listenClientURLs: parseListenURLs("https://127.0.0.1:2379"),
        listenClientHTTPURLs: parseListenURLs("http://127.0.0.1:2379"),
      },
      "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url",
    ],
    [
      { featureGates: { ...defaultFeatureGates(), LeaseCheckpointPersist: true } },
      "requires enabling feature gate LeaseCheckpoint",
    ],
  ])("refuses %j", (settings, message) => {
    expect(() => validateConfig(embedConfig(settings))).toThrow(message);
  });
});

test("parseAutoCompaction() reads hours, durations and revisions", () => {
  const parse = (autoCompactionMode: "periodic" | "revision", autoCompactionRetention: string) =>
    parseAutoCompaction({ autoCompactionMode, autoCompactionRetention });
  expect(parse("periodic", "0")).toEqual({ mode: "off" });
  expect(parse("periodic", "1")).toEqual({ mode: "periodic", periodMs: 3_600_000 });
  expect(parse("periodic", "1m30s")).toEqual({ mode: "periodic", periodMs: 90_000 });
  expect(parse("revision", "1000")).toEqual({ mode: "revision", revisions: 1000 });
  expect(() => parse("periodic", "abc")).toThrow("error parsing CompactionRetention");
  expect(() => parse("revision", "-1")).toThrow("error parsing CompactionRetention");
});

test("parseFeatureGates() knows names and stages", () => {
  expect(parseFeatureGates("CompactHashCheck=true").CompactHashCheck).toBe(true);
  expect(parseFeatureGates("AllAlpha=true,LeaseCheckpoint=false")).toMatchObject({
    InitialCorruptCheck: true,
    LeaseCheckpoint: false,
  });
  expect(() => parseFeatureGates("Foo=true")).toThrow("unrecognized feature gate: Foo");
  expect(() => parseFeatureGates("CompactHashCheck")).toThrow("missing bool value");
});
