/** The auth buckets: a switch, a revision, and users and roles under their names. */

import { CorruptionError, decodeMessage, encodeMessage, utf8FromString } from "@etcd-ts/base";
import type { Codec } from "@etcd-ts/base";
import { generatedCodec, RoleSchema, UserSchema } from "@etcd-ts/api";
import type { Role, User } from "@etcd-ts/api";
import type { Backend } from "../backend/backend.ts";
import { mustReadUint64, uint64Bytes } from "./numbers.ts";

const AUTH_ENABLED = utf8FromString("authEnabled");
const AUTH_REVISION = utf8FromString("authRevision");
const UserCodec = generatedCodec(UserSchema);
const RoleCodec = generatedCodec(RoleSchema);

export function readAuthEnabled(backend: Backend): boolean {
  const value = backend.get("auth", AUTH_ENABLED);
  return value !== undefined && value.length === 1 && value[0] === 1;
}

export function writeAuthEnabled(backend: Backend, isEnabled: boolean): void {
  backend.put("auth", AUTH_ENABLED, Uint8Array.of(isEnabled ? 1 : 0));
}

export function authRevisionExists(backend: Backend): boolean {
  return backend.get("auth", AUTH_REVISION) !== undefined;
}

/** 0 if there is none. */
export function readAuthRevision(backend: Backend): number {
  const value = backend.get("auth", AUTH_REVISION);
  return value === undefined ? 0 : mustReadUint64(value, "authRevision", backend.path);
}

export function writeAuthRevision(backend: Backend, revision: number): void {
  backend.put("auth", AUTH_REVISION, uint64Bytes(revision));
}

/** The user of that name. @throws {CorruptionError} */
export function readAuthUser(backend: Backend, name: string): User | undefined {
  const value = backend.get("authUsers", utf8FromString(name));
  return value === undefined ? undefined : decoded(backend, UserCodec, value);
}

/** In byte order of the names. @throws {CorruptionError} */
export function readAuthUsers(backend: Backend): User[] {
  const pairs = backend.range("authUsers", new Uint8Array(0), undefined);
  return pairs.map(({ value }) => decoded(backend, UserCodec, value));
}

export function writeAuthUser(backend: Backend, user: User): void {
  backend.put("authUsers", user.name, encodeMessage(UserCodec, user));
}

export function deleteAuthUser(backend: Backend, name: string): void {
  backend.delete("authUsers", utf8FromString(name));
}

/** The role of that name. @throws {CorruptionError} */
export function readAuthRole(backend: Backend, name: string): Role | undefined {
  const value = backend.get("authRoles", utf8FromString(name));
  return value === undefined ? undefined : decoded(backend, RoleCodec, value);
}

/** In byte order of the names. @throws {CorruptionError} */
export function readAuthRoles(backend: Backend): Role[] {
  const pairs = backend.range("authRoles", new Uint8Array(0), undefined);
  return pairs.map(({ value }) => decoded(backend, RoleCodec, value));
}

export function writeAuthRole(backend: Backend, role: Role): void {
  backend.put("authRoles", role.name, encodeMessage(RoleCodec, role));
}

export function deleteAuthRole(backend: Backend, name: string): void {
  backend.delete("authRoles", utf8FromString(name));
}

/** A copy: what the backend gives may change under it. */
function decoded<T>(backend: Backend, codec: Codec<T>, value: Uint8Array): T {
  try {
    return decodeMessage(codec, value.slice());
  } catch (cause) {
    throw new CorruptionError("a user or role cannot be read", backend.path, 0, { cause });
  }
}
