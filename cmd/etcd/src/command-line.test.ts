import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readCommandLine } from "./command-line.ts";
import type { CommandLine } from "./command-line.ts";
import { FLAGS, IGNORED_FLAGS, UNBUILT_FLAGS } from "./flags.ts";
import type { FlagName } from "./flags.ts";
import { helpText } from "./help.ts";

const directory = mkdtempSync(join(tmpdir(), "etcd-command-line-"));
afterAll(() => rmSync(directory, { recursive: true }));

function read(words: readonly string[], environment: Record<string, string> = {}): CommandLine {
  const result = readCommandLine(words, environment);
  if (result === "version") throw new Error("unexpected version");
  return result;
}

function readFile(text: string): CommandLine {
  const path = join(directory, "etcd.conf.yml");
  writeFileSync(path, text);
  return read(["--config-file", path, "--name", "ignored"]);
}

describe("readCommandLine()", () => {
  test("gives etcd's defaults", () => {
    expect(read([]).config).toMatchObject({
      name: "default",
      dataDir: "default.etcd",
      walDir: "default.etcd/member/wal",
      initialCluster: "default=http://localhost:2380",
      snapshotCount: 10_000,
      backendBatchIntervalMs: 100,
      watchProgressNotifyIntervalMs: 600_000,
    });
  });

  test("derives the directory and the initial cluster from the name", () => {
    const { config } = read(["--name=s1", "-initial-advertise-peer-urls", "http://10.0.0.1:2380"]);
    expect(config.dataDir).toBe("s1.etcd");
    expect(config.initialCluster).toBe("s1=http://10.0.0.1:2380");
  });

  test("reads how users are authenticated", () => {
    const words = ["--auth-token=jwt,sign-method=HS256", "--bcrypt-cost=4", "--auth-token-ttl=7"];
    expect(read(words).config).toMatchObject({
      authToken: "jwt,sign-method=HS256",
      bcryptCost: 4,
      authTokenTTLSeconds: 7,
    });
  });

  test("reads variables, and refuses one beside its flag", () => {
    const { config, environment } = read([], { ETCD_NAME: "e", ETCD_FOO: "1", ETCD_VERSION: "3" });
    expect(config.name).toBe("e");
    expect(environment.unrecognized).toEqual(["ETCD_FOO=1"]);
    expect(() => read(["--name=a"], { ETCD_NAME: "e" })).toThrow("conflicting environment");
  });

  test.each([
    [["foo"], '"foo" is not a valid flag'],
    [["--listen-client-urls=http://127.0.0.1:1"], "--advertise-client-urls is required"],
    [["--tls-min-version=TLS1.0"], 'unexpected TLS version "TLS1.0"'],
    [["--cipher-suites=foo"], 'unexpected TLS cipher suite "foo"'],
    [["--client-key-file=k.pem"], "ClientKeyFile and ClientCertFile must both be present"],
    [
      ["--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b"],
      "AllowedCNs and AllowedHostnames are mutually exclusive",
    ],
    [
      ["--discovery-proxy=http://a"],
      "--discovery-proxy is a flag of etcd that etcd-ts has not built yet",
    ],
    [["--auto-compaction-mode=x"], 'unknown auto-compaction-mode "x"'],
    [["--log-format=x"], "unknown log format: x, supported values json, console"],
    [["--log-level=foo"], 'unrecognized level: "foo"'],
    [["--logger=capnslog"], "--logger=capnslog is removed in v3.5"],
    [["--discovery-fallback=proxy"], "v2 proxy is deprecated"],
    [["--initial-cluster=a=http://a:1", "--discovery-srv="], "multiple discovery or bootstrap"],
    [["--config-file=/nonexistent"], "open /nonexistent: no such file or directory"],
    [["--feature-gates=LeaseCheckpointPersist=true"], "requires enabling feature gate"],
    [["--enable-log-rotation"], "--log-outputs requires a single file path"],
    [
      ["--experimental-initial-corrupt-check", "--feature-gates=AllAlpha=false"],
      "cannot specify both flags",
    ],
  ])("refuses %j as a configuration", (words, message) => {
    expect(() => read(words)).toThrow(message);
  });

  test.each([
    [["--initial-cluster-state=foo"], "flag -initial-cluster-state: invalid value"],
    [["--listen-client-urls=ftp://1.2.3.4:1"], "flag -listen-client-urls: URL scheme must be http"],
    [["--feature-gates=Foo=true"], "flag -feature-gates: unrecognized feature gate: Foo"],
    [["--v2-deprecation=not-yet"], "flag -v2-deprecation"],
    [["--bogus"], "flag provided but not defined: -bogus"],
  ])("refuses %j as a command line", (words, message) => {
    expect(() => read(words)).toThrow(expect.objectContaining({ code: "FLAG" }));
    expect(() => read(words)).toThrow(message);
  });

  test("accepts an unbuilt flag at its default", () => {
    expect(() =>
      read(["--auth-token=simple", "--discovery-proxy=", "--enable-pprof=false"]),
    ).not.toThrow();
  });

  test("refuses each unbuilt flag by name", () => {
    for (const name of UNBUILT_FLAGS) {
      const { isBoolean, defaultValue } = FLAGS[name];
      const value = isBoolean ? String(defaultValue !== true) : "7s";
      const words = [`--${name}=${typeof defaultValue === "number" ? numberFor(name) : value}`];
      expect(() => read(words), name).toThrow(`--${name} is a flag of etcd`);
    }
  });

  test("takes discovery, and the password along with the user", () => {
    const words = ["--discovery-token=t", "--discovery-endpoints=b:1,a:1,b:1"];
    const { config } = read([...words, "--discovery-user=u:p:q", "--discovery-dial-timeout=3s"]);
    expect(config.discovery).toMatchObject({
      endpoints: ["a:1", "b:1"],
      token: "t",
      username: "u",
      password: "p:q",
      dialTimeoutMs: 3000,
    });
    expect(() => read(["--discovery-token=t"])).toThrow(
      "both --discovery-token and --discovery-endpoints must be set",
    );
  });

  test.each([
    [[], undefined],
    [["--discovery-insecure-transport=false"], {}],
    [["--discovery-insecure-skip-tls-verify"], { insecureSkipVerify: true }],
    [["--discovery-cacert=ca.pem"], { caFile: "ca.pem" }],
    [["--discovery-cert=c.pem", "--discovery-key=k.pem"], { certFile: "c.pem", keyFile: "k.pem" }],
  ])("discovery uses TLS with %j", (words, tls) => {
    const { config } = read(["--discovery-token=t", "--discovery-endpoints=a:1", ...words]);
    const none = { certFile: "", keyFile: "", caFile: "", insecureSkipVerify: false };
    expect(config.discovery!.tls).toEqual(tls === undefined ? undefined : { ...none, ...tls });
  });

  test("takes experimental spellings, with a warning", () => {
    const { config, warnings } = read([
      "--experimental-watch-progress-notify-interval=5s",
      "--experimental-initial-corrupt-check=true",
    ]);
    expect(config.watchProgressNotifyIntervalMs).toBe(5000);
    expect(config.featureGates.InitialCorruptCheck).toBe(true);
    expect(warnings).toHaveLength(2);
  });

  test("raises raft time-outs to their floor", () => {
    expect(read(["--raft-read-timeout=1s"]).config.raftReadTimeoutMs).toBe(5000);
  });

  test("answers --version before anything else is checked", () => {
    expect(readCommandLine(["--version", "--log-level=foo"], {})).toBe("version");
  });
});

function numberFor(name: FlagName): string {
  return /^\d+$/.test(FLAGS[name].defaultText) ? "7" : "7s";
}

describe("--config-file", () => {
  test("replaces flags, reads nanoseconds, lists and nested keys", () => {
    const { config } = readFile(`
name: from-file
election-timeout: 2000
grpc-keepalive-min-time: 3000000000
listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2
advertise-client-urls: http://127.0.0.1:1
log-outputs: [stderr]
cors: "http://a,http://b"
unknown-key: 1
client-transport-security:
  cert-file: c.pem
  key-file: k.pem
  trusted-ca-file: ca.pem
  client-cert-auth: true
  allowed-cn: [a, b]
peer-transport-security:
  allowed-hostname: [h]
  skip-client-san-verification: true
`);
    expect(config.name).toBe("from-file");
    expect(config.electionTimeoutMs).toBe(2000);
    expect(config.grpcKeepaliveMinTimeMs).toBe(3000);
    expect(config.listenClientURLs).toHaveLength(2);
    expect(config.logOutputs).toEqual(["stderr"]);
    expect(config.cors).toEqual(["http://a", "http://b"]);
    expect(config.clientSecurity).toMatchObject({
      certFile: "c.pem",
      keyFile: "k.pem",
      trustedCAFile: "ca.pem",
      clientCertAuth: true,
      allowedCNs: ["a", "b"],
    });
    expect(config.peerSecurity).toMatchObject({
      allowedHostnames: ["h"],
      skipClientSANVerification: true,
    });
  });

  test("reads TLS flags of both sides", () => {
    const words = ["--cert-file=c", "--key-file=k", "--client-crl-file=r", "--peer-auto-tls"];
    const { config } = read([
      ...words,
      "--tls-max-version=TLS1.2",
      "--self-signed-cert-validity=3",
    ]);
    expect(config.clientSecurity).toMatchObject({ certFile: "c", keyFile: "k", crlFile: "r" });
    expect(config.peerSecurity).toMatchObject({ certFile: "", autoTLS: true });
    expect(config).toMatchObject({ tlsMaxVersion: "TLS1.2", selfSignedCertValidityYears: 3 });
  });

  test("reads JSON", () => {
    expect(readFile('{"name": "j", "pre-vote": false}').config).toMatchObject({
      name: "j",
      preVote: false,
    });
  });

  test.each([
    ["name: [1]", "name has a value of another type"],
    ["- a", "expected a mapping"],
    ["a: b: c", "etcd.conf.yml"],
    ["max-txn-ops: many", "parse error"],
    ["discovery-proxy: a", "--discovery-proxy is a flag of etcd"],
    ["listen-client-urls: http://127.0.0.1:1", "--advertise-client-urls is required"],
  ])("refuses %j", (text, message) => {
    expect(() => readFile(text)).toThrow(message);
  });
});

test("helpText() names every flag that means something", () => {
  const text = helpText();
  const silent = new Set<string>([...IGNORED_FLAGS, "version", "config-file"]);
  for (const name of Object.keys(FLAGS)) {
    if (silent.has(name) || name.startsWith("experimental-")) continue;
    expect(text).toContain(`  --${name} '`);
  }
});
