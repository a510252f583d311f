/**
 * `--config-file`: a YAML or JSON document whose keys are flag names.
 *
 * As etcd reads it: durations are integer nanoseconds (election and heartbeat milliseconds), URL
 * fields are one comma-separated string, TLS and socket settings are nested, unknown keys are
 * passed over. Every key found counts as an explicitly set flag.
 */

import { FlagSet } from "@etcd-ts/cli";
import type { Flag } from "@etcd-ts/cli";
import { ConfigError } from "@etcd-ts/embed";
import { parse } from "yaml";
import { FLAGS } from "./flags.ts";

const TABLE: { readonly [name: string]: Flag<unknown> } = FLAGS;

/** Flags whose value in a file is an integer of nanoseconds. */
const DURATION_FLAGS: ReadonlySet<string> = new Set(
  Object.entries(FLAGS)
    .filter(([, flag]) => /^\d+(\.\d+)?(ns|us|ms|s|m|h)/.test(flag.defaultText))
    .map(([name]) => name),
);

/** Flags that a file cannot set. */
const NOT_IN_FILE: ReadonlySet<string> = new Set([
  "config-file",
  "version",
  "raft-read-timeout",
  "raft-write-timeout",
  "client-crl-file",
  "peer-crl-file",
  "discovery-fallback",
]);

/** Nested keys, and the flags they are. */
const NESTED: { readonly [key: string]: string } = {
  "socket-options.reuse-port": "socket-reuse-port",
  "socket-options.reuse-address": "socket-reuse-address",
  "client-transport-security.cert-file": "cert-file",
  "client-transport-security.key-file": "key-file",
  "client-transport-security.client-cert-file": "client-cert-file",
  "client-transport-security.client-key-file": "client-key-file",
  "client-transport-security.client-cert-auth": "client-cert-auth",
  "client-transport-security.trusted-ca-file": "trusted-ca-file",
  "client-transport-security.auto-tls": "auto-tls",
  "client-transport-security.allowed-hostname": "client-cert-allowed-hostname",
  "peer-transport-security.cert-file": "peer-cert-file",
  "peer-transport-security.key-file": "peer-key-file",
  "peer-transport-security.client-cert-file": "peer-client-cert-file",
  "peer-transport-security.client-key-file": "peer-client-key-file",
  "peer-transport-security.client-cert-auth": "peer-client-cert-auth",
  "peer-transport-security.trusted-ca-file": "peer-trusted-ca-file",
  "peer-transport-security.auto-tls": "peer-auto-tls",
  "peer-transport-security.allowed-cn": "peer-cert-allowed-cn",
  "peer-transport-security.allowed-hostname": "peer-cert-allowed-hostname",
  "peer-transport-security.skip-client-san-verification": "peer-skip-client-san-verification",
  "discovery-config.token": "discovery-token",
  "discovery-config.client.endpoints": "discovery-endpoints",
  "discovery-config.client.dial-timeout": "discovery-dial-timeout",
  "discovery-config.client.request-timeout": "discovery-request-timeout",
  "discovery-config.client.keepalive-time": "discovery-keepalive-time",
  "discovery-config.client.keepalive-timeout": "discovery-keepalive-timeout",
  "discovery-config.client.secure.insecure-transport": "discovery-insecure-transport",
  "discovery-config.client.secure.insecure-skip-tls-verify": "discovery-insecure-skip-tls-verify",
  "discovery-config.client.secure.cert": "discovery-cert",
  "discovery-config.client.secure.key": "discovery-key",
  "discovery-config.client.secure.cacert": "discovery-cacert",
  "discovery-config.client.auth.username": "discovery-user",
  "discovery-config.client.auth.password": "discovery-password",
  "experimental-snapshot-catch-up-entries": "experimental-snapshot-catchup-entries",
};

/** What only a file can say. */
export interface FileSettings {
  readonly clientAllowedCNs: readonly string[];
  readonly clientSkipSANVerification: boolean;
}

export const NO_FILE_SETTINGS: FileSettings = {
  clientAllowedCNs: [],
  clientSkipSANVerification: false,
};

export interface ConfigFile {
  readonly flags: FlagSet<typeof FLAGS>;
  readonly settings: FileSettings;
}

/** @throws {ConfigError} naming the file and the key */
export function readConfigFile(text: string, path: string): ConfigFile {
  let document: unknown;
  try {
    document = parse(text) ?? {};
  } catch (error) {
    throw new ConfigError(`${path}: ${(error as Error).message}`, { cause: error });
  }
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw new ConfigError(`${path}: expected a mapping of settings`);
  }
  const flags = new FlagSet(FLAGS);
  const settings: Partial<FileSettings> = {};
  for (const [key, value] of leaves(document as Mapping, "")) {
    Object.assign(settings, fileSetting(key, value));
    const name = NESTED[key] ?? key;
    if (TABLE[name] === undefined || NOT_IN_FILE.has(name)) continue;
    const shown = textOf(name, value);
    if (shown === undefined) throw new ConfigError(`${path}: ${key} has a value of another type`);
    try {
      flags.setFromEnvironment(name, key, shown);
    } catch (error) {
      throw new ConfigError(`${path}: ${(error as Error).message}`, { cause: error });
    }
  }
  return { flags, settings: { ...NO_FILE_SETTINGS, ...settings } };
}

function fileSetting(key: string, value: unknown): Partial<FileSettings> | undefined {
  if (key === "client-transport-security.allowed-cn" && Array.isArray(value)) {
    return { clientAllowedCNs: value.map(String) };
  }
  if (key === "client-transport-security.skip-client-san-verification") {
    return { clientSkipSANVerification: value === true };
  }
  return undefined;
}

type Mapping = { readonly [key: string]: unknown };

function* leaves(mapping: Mapping, prefix: string): Iterable<readonly [string, unknown]> {
  for (const [key, value] of Object.entries(mapping)) {
    if (value === null) continue;
    if (typeof value === "object" && !Array.isArray(value)) {
      yield* leaves(value as Mapping, `${prefix}${key}.`);
    } else yield [prefix + key, value];
  }
}

/** The text the flag of that name would be given; undefined if the type does not fit. */
function textOf(name: string, value: unknown): string | undefined {
  if (Array.isArray(value))
    return value.every((item) => typeof item === "string") ? value.join(",") : undefined;
  if (DURATION_FLAGS.has(name)) return Number.isInteger(value) ? `${String(value)}ns` : undefined;
  switch (typeof value) {
    case "string":
      return value;
    case "number":
    case "boolean":
      return String(value);
    default:
      return undefined;
  }
}
