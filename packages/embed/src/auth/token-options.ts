/** `--auth-token`: `simple`, `jwt,<option>=<value>,...`, or nothing for no tokens. */

import { createPrivateKey, createPublicKey, createSecretKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";

import { SERVER_ERRORS } from "@etcd-ts/api";
import { parseGoDuration } from "@etcd-ts/base";
import type { Clock, EtcdError, Logger } from "@etcd-ts/base";
import type { TokenKind } from "@etcd-ts/etcdserver";

import { ConfigError } from "../listen-url.ts";
import { JwtSigner } from "./jwt-signer.ts";
import type { JwtKeys } from "./jwt-signer.ts";

const TTL_DEFAULT_MS = 5 * 60_000;
const KNOWN_OPTIONS: ReadonlySet<string> = new Set(["sign-method", "pub-key", "priv-key", "ttl"]);

/** The type of key each algorithm signs with. */
const KEY_TYPES: { readonly [algorithm: string]: string } = {
  RS256: "rsa",
  RS384: "rsa",
  RS512: "rsa",
  PS256: "rsa",
  PS384: "rsa",
  PS512: "rsa",
  ES256: "ec",
  ES384: "ec",
  ES512: "ec",
  EdDSA: "ed25519",
  HS256: "secret",
  HS384: "secret",
  HS512: "secret",
};

/** @throws {ConfigError} with etcd's text */
export function tokenKindOf(
  text: string,
  ttlSeconds: number,
  parts: { readonly clock: Clock; readonly logger: Logger },
): TokenKind {
  const [kind, ...words] = text.split(",");
  switch (kind) {
    case "":
      return { kind: "none" };
    case "simple":
      parseOptions(words);
      parts.logger.warn("simple token is not cryptographically signed");
      return { kind: "simple", ttlMs: (ttlSeconds > 0 ? ttlSeconds : 300) * 1000 };
    case "jwt": {
      const options = parseOptions(words);
      const unknown = [...options.keys()].filter((name) => !KNOWN_OPTIONS.has(name));
      if (unknown.length > 0) parts.logger.warn("unknown JWT options", { keys: unknown });
      return { kind: "jwt", signer: new JwtSigner(keysOf(options), parts.clock) };
    }
    default:
      throw refused(SERVER_ERRORS.invalidAuthOptions);
  }
}

function parseOptions(words: readonly string[]): ReadonlyMap<string, string> {
  const options = new Map<string, string>();
  for (const word of words) {
    const pair = word.split("=");
    if (pair.length !== 2 || options.has(pair[0]!)) {
      throw refused(SERVER_ERRORS.invalidAuthOptions);
    }
    options.set(pair[0]!, pair[1]!);
  }
  return options;
}

function keysOf(options: ReadonlyMap<string, string>): JwtKeys {
  const algorithm = options.get("sign-method") ?? "";
  const type = KEY_TYPES[algorithm];
  const ttlMs = ttlOf(options.get("ttl") ?? "");
  const publicBytes = bytesOf(options.get("pub-key") ?? "");
  const privateBytes = bytesOf(options.get("priv-key") ?? "");
  if (type === undefined) throw refused(SERVER_ERRORS.invalidAuthOptions);
  if (type === "secret") {
    if (privateBytes === undefined) throw refused(SERVER_ERRORS.authKeyMissing);
    const key = createSecretKey(privateBytes);
    return { algorithm, verifyKey: key, signKey: key, ttlMs };
  }
  const signKey = privateBytes && keyOf(() => createPrivateKey(privateBytes), type);
  const publicKey = publicBytes && keyOf(() => createPublicKey(publicBytes), type);
  const verifyKey = signKey === undefined ? publicKey : createPublicKey(signKey);
  if (verifyKey === undefined) throw refused(SERVER_ERRORS.authKeyMissing);
  if (publicKey !== undefined && !publicKey.equals(verifyKey)) {
    throw refused(SERVER_ERRORS.authKeyMismatch);
  }
  return { algorithm, verifyKey, signKey, ttlMs };
}

function ttlOf(text: string): number {
  if (text === "") return TTL_DEFAULT_MS;
  // Not a sign, and a unit even for nothing.
  const ttlMs = /^[\d.]+[a-zµ]/.test(text) ? parseGoDuration(text) : undefined;
  if (ttlMs === undefined) throw refused(SERVER_ERRORS.invalidAuthOptions);
  return ttlMs;
}

/** Undefined for an empty file, which has no key. */
function bytesOf(path: string): Buffer | undefined {
  if (path === "") return undefined;
  try {
    const bytes = readFileSync(path);
    return bytes.length === 0 ? undefined : bytes;
  } catch (cause) {
    throw refused(SERVER_ERRORS.invalidAuthOptions, cause);
  }
}

function keyOf(read: () => KeyObject, type: string): KeyObject {
  let key: KeyObject;
  try {
    key = read();
  } catch (cause) {
    throw new ConfigError("the key of --auth-token=jwt cannot be read", { cause });
  }
  if (key.asymmetricKeyType === type) return key;
  throw new ConfigError(`the key of --auth-token=jwt is not of type ${type}`);
}

function refused(error: EtcdError, cause?: unknown): ConfigError {
  return new ConfigError(error.message, { cause });
}
