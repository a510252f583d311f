/** The auth buckets: a switch, a revision, and users and roles as stored bytes. */

import { utf8FromString } from "@etcd-ts/base";
import type { Backend, KeyValuePair } from "../backend/backend.ts";
import { mustReadUint64, uint64Bytes } from "./numbers.ts";

const AUTH_ENABLED = utf8FromString("authEnabled");
const AUTH_REVISION = utf8FromString("authRevision");

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

/** authpb.User bytes under the user's name. */
export function readAuthUser(backend: Backend, name: string): Uint8Array | undefined {
  return backend.get("authUsers", utf8FromString(name));
}

/** In byte order of the names. */
export function readAuthUsers(backend: Backend): KeyValuePair[] {
  return backend.range("authUsers", new Uint8Array(0), undefined);
}

export function writeAuthUser(backend: Backend, name: string, user: Uint8Array): void {
  backend.put("authUsers", utf8FromString(name), user);
}

export function deleteAuthUser(backend: Backend, name: string): void {
  backend.delete("authUsers", utf8FromString(name));
}

/** authpb.Role bytes under the role's name. */
export function readAuthRole(backend: Backend, name: string): Uint8Array | undefined {
  return backend.get("authRoles", utf8FromString(name));
}

/** In byte order of the names. */
export function readAuthRoles(backend: Backend): KeyValuePair[] {
  return backend.range("authRoles", new Uint8Array(0), undefined);
}

export function writeAuthRole(backend: Backend, name: string, role: Uint8Array): void {
  backend.put("authRoles", utf8FromString(name), role);
}

export function deleteAuthRole(backend: Backend, name: string): void {
  backend.delete("authRoles", utf8FromString(name));
}
