/**
 * Users, roles and permissions, and whether they are enforced.
 *
 * Everything durable is in the backend's auth buckets, in the bytes etcd writes; what is here
 * beside it can be rebuilt from them at any time, except for simple tokens, which live in memory.
 *
 * Invariants:
 * - Changes are made by committed log entries alone, in log order, so all members store the same.
 * - `revision` grows by one with each change of users or roles, and when authentication is
 *   disabled; what was permitted at an earlier one is asked again.
 * - `#known` holds nothing older than the last change.
 *
 * Over 500 lines because it is every operation on users and roles, one short method each.
 */

import { compareBytes, stringFromUtf8, utf8FromString } from "@etcd-ts/base";
import type { Clock, EtcdError, Gauge, Logger, Metrics } from "@etcd-ts/base";
import { Permission_Type, SERVER_ERRORS } from "@etcd-ts/api";
import type {
  AuthRoleGrantPermissionRequest,
  AuthRoleRevokePermissionRequest,
  AuthUserAddRequest,
  AuthUserChangePasswordRequest,
  InternalAuthenticateRequest,
  Permission,
  RaftOperation,
  Role,
  User,
} from "@etcd-ts/api";
import {
  deleteAuthRole,
  deleteAuthUser,
  readAuthEnabled,
  readAuthRevision,
  readAuthRole,
  readAuthRoles,
  readAuthUser,
  readAuthUsers,
  writeAuthEnabled,
  writeAuthRevision,
  writeAuthRole,
  writeAuthUser,
} from "@etcd-ts/storage";
import type { Backend } from "@etcd-ts/storage";

import type { AuthIdentity } from "../server-api.ts";
import { bytesFromBase64 } from "./base64.ts";
import { isGrantable, UserPermissions } from "./permissions.ts";
import type { Access } from "./permissions.ts";
import type { AuthPorts } from "./ports.ts";
import { SimpleTokens } from "./simple-tokens.ts";

export const ROOT_USER = "root";
export const ROOT_ROLE = "root";

const NO_BYTES = new Uint8Array(0);
/** What role root may do, whatever is granted to it. */
const ROOT_PERMISSION: Permission = {
  $typeName: "authpb.Permission",
  permType: Permission_Type.READWRITE,
  key: NO_BYTES,
  rangeEnd: new Uint8Array([0]),
};

/** Log operations that belong to the auth store. */
export type AuthOperation = Extract<RaftOperation, { readonly kind: `auth${string}` }>;

/** What an operation has to say. */
export type AuthResult =
  | { readonly kind: "done" }
  | { readonly kind: "status"; readonly enabled: boolean; readonly authRevision: number }
  | { readonly kind: "users"; readonly users: readonly string[] }
  | { readonly kind: "roles"; readonly roles: readonly string[] }
  | { readonly kind: "permissions"; readonly permissions: readonly Permission[] }
  /** A simple token; undefined where the member that was asked makes the token. */
  | { readonly kind: "token"; readonly token: string | undefined };

const DONE: AuthResult = { kind: "done" };

export interface AuthStoreOptions {
  readonly backend: Backend;
  readonly ports: AuthPorts;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export class AuthStore {
  readonly ports: AuthPorts;
  readonly #logger: Logger;
  readonly #tokens: SimpleTokens | undefined;
  readonly #revisionGauge: Gauge;
  #backend: Backend;
  #isEnabled = false;
  #revision = 0;
  /** Users that were asked for since the last change, and what they may do. */
  readonly #known = new Map<string, KnownUser>();

  constructor(options: AuthStoreOptions) {
    const { ports, clock } = options;
    this.ports = ports;
    this.#logger = options.logger;
    this.#tokens =
      ports.tokens.kind === "simple" ? new SimpleTokens(clock, ports.tokens.ttlMs) : undefined;
    this.#revisionGauge = options.metrics.gauge({
      name: "etcd_debugging_auth_revision",
      help: "The current revision of auth store.",
    });
    this.#backend = options.backend;
    this.recover(options.backend);
  }

  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Goes on with another backend, after a snapshot replaced the old one. */
  recover(backend: Backend): void {
    this.#backend = backend;
    this.#known.clear();
    this.#setRevision(readAuthRevision(backend));
    this.#isEnabled = readAuthEnabled(backend);
    if (this.#isEnabled) this.#tokens?.enable();
  }

  user(name: string): User | undefined {
    return this.#knownUser(name)?.user;
  }

  /** The user of a simple token, which is prolonged. */
  userOfToken(token: string): string | undefined {
    return this.#tokens?.userOf(token);
  }

  // Questions

  /** Undefined if the caller may do what only root may. */
  adminRefusal(identity: AuthIdentity | undefined): EtcdError | undefined {
    if (!this.#isEnabled) return undefined;
    if (identity === undefined || identity.username === "") return SERVER_ERRORS.userEmpty;
    const user = this.user(identity.username);
    if (user === undefined) return SERVER_ERRORS.userNotFound;
    return hasRootRole(user) ? undefined : SERVER_ERRORS.permissionDenied;
  }

  /** Undefined if the caller may read, or write, every key of the range. */
  rangeRefusal(
    identity: AuthIdentity | undefined,
    access: Access,
    key: Uint8Array,
    rangeEnd: Uint8Array = NO_BYTES,
  ): EtcdError | undefined {
    if (!this.#isEnabled) return undefined;
    if (identity === undefined || identity.authRevision === 0) return SERVER_ERRORS.userEmpty;
    if (identity.authRevision < this.#revision) {
      this.#logger.warn("request auth revision is less than current node auth revision", {
        "current node auth revision": this.#revision,
        "request auth revision": identity.authRevision,
        error: SERVER_ERRORS.authOldRevision.message,
      });
      return SERVER_ERRORS.authOldRevision;
    }
    const known = this.#knownUser(identity.username);
    if (known === undefined) {
      this.#logger.error("cannot find a user for permission check", {
        "user-name": identity.username,
      });
      return SERVER_ERRORS.permissionDenied;
    }
    if (hasRootRole(known.user)) return undefined;
    const isPermitted = this.#permissionsOf(known).permits(access, key, rangeEnd);
    return isPermitted ? undefined : SERVER_ERRORS.permissionDenied;
  }

  // Changes

  /**
   * Carries out a committed operation.
   *
   * @param index - of the entry before, which simple tokens are named after
   * @throws {ServerError} what the client did wrong: nothing has changed then
   */
  apply(operation: AuthOperation, identity: AuthIdentity, index: number): AuthResult {
    const isOwn = operation.kind === "authUserGet" || operation.kind === "authRoleGet";
    if (operation.kind !== "authenticate" && !isOwn) orThrow(this.adminRefusal(identity));
    switch (operation.kind) {
      case "authEnable":
        return this.#enable();
      case "authDisable":
        return this.#disable();
      case "authStatus":
        return { kind: "status", enabled: this.#isEnabled, authRevision: this.#revision };
      case "authenticate":
        return this.#authenticate(operation.request, index);
      case "authUserAdd":
        return this.#userAdd(operation.request);
      case "authUserDelete":
        return this.#userDelete(operation.request.name);
      case "authUserChangePassword":
        return this.#changePassword(operation.request);
      case "authUserGrantRole":
        return this.#grantRole(operation.request.user, operation.request.role);
      case "authUserRevokeRole":
        return this.#revokeRole(operation.request.name, operation.request.role);
      case "authUserGet":
        return this.#userGet(operation.request.name, identity);
      case "authUserList":
        return { kind: "users", users: readAuthUsers(this.#backend).map(nameOf) };
      case "authRoleAdd":
        return this.#roleAdd(operation.request.name);
      case "authRoleDelete":
        return this.#roleDelete(operation.request.role);
      case "authRoleGet":
        return this.#roleGet(operation.request.role, identity);
      case "authRoleList":
        return { kind: "roles", roles: readAuthRoles(this.#backend).map(nameOf) };
      case "authRoleGrantPermission":
        return this.#grantPermission(operation.request);
      default:
        return this.#revokePermission(operation.request);
    }
  }

  #enable(): AuthResult {
    if (this.#isEnabled) {
      this.#logger.info("authentication is already enabled; ignored auth enable request");
      return DONE;
    }
    const root = this.user(ROOT_USER);
    if (root === undefined) throw SERVER_ERRORS.rootUserNotExist;
    if (!hasRootRole(root)) throw SERVER_ERRORS.rootRoleNotExist;
    writeAuthEnabled(this.#backend, true);
    this.#isEnabled = true;
    this.#tokens?.enable();
    this.#known.clear();
    this.#logger.info("enabled authentication");
    return DONE;
  }

  #disable(): AuthResult {
    if (!this.#isEnabled) return DONE;
    writeAuthEnabled(this.#backend, false);
    this.#changed();
    this.#isEnabled = false;
    this.#tokens?.disable();
    this.#logger.info("disabled authentication");
    return DONE;
  }

  /** The password was checked by the member that was asked. */
  #authenticate({ name, simpleToken }: InternalAuthenticateRequest, index: number): AuthResult {
    if (!this.#isEnabled) throw SERVER_ERRORS.authNotEnabled;
    const user = this.user(name);
    if (user === undefined || hasNoPassword(user)) throw SERVER_ERRORS.authFailed;
    const { tokens } = this.ports;
    switch (tokens.kind) {
      case "simple":
        return { kind: "token", token: this.#tokens!.assign(name, simpleToken, index) };
      case "jwt":
        if (!tokens.signer.canSign) throw SERVER_ERRORS.authVerifyOnly;
        return { kind: "token", token: undefined };
      default:
        throw SERVER_ERRORS.authFailed;
    }
  }

  #userAdd(request: AuthUserAddRequest): AuthResult {
    const { name } = request;
    if (name === "") throw SERVER_ERRORS.userEmpty;
    if (this.user(name) !== undefined) throw SERVER_ERRORS.userAlreadyExist;
    const options = request.options ?? {
      $typeName: "authpb.UserAddOptions" as const,
      noPassword: false,
    };
    this.#putUser({
      $typeName: "authpb.User",
      name: utf8FromString(name),
      password: options.noPassword ? NO_BYTES : this.#passwordOf(request),
      roles: [],
      options,
    });
    this.#changed();
    this.#logger.info("added a user", { "user-name": name });
    return DONE;
  }

  #userDelete(name: string): AuthResult {
    if (this.#isEnabled && name === ROOT_USER) {
      this.#logger.error("cannot delete 'root' user", { "user-name": name });
      throw SERVER_ERRORS.invalidAuthManagement;
    }
    const user = this.#mustUser(name);
    deleteAuthUser(this.#backend, name);
    this.#changed();
    this.#tokens?.invalidateUser(name);
    this.#logger.info("deleted a user", { "user-name": name, "user-roles": user.roles });
    return DONE;
  }

  #changePassword(request: AuthUserChangePasswordRequest): AuthResult {
    const { name } = request;
    const user = this.#mustUser(name);
    const password = hasNoPassword(user) ? NO_BYTES : this.#passwordOf(request);
    this.#putUser({ ...user, name: utf8FromString(name), password });
    this.#changed();
    this.#tokens?.invalidateUser(name);
    this.#logger.info("changed a password of a user", {
      "user-name": name,
      "user-roles": user.roles,
    });
    return DONE;
  }

  #grantRole(name: string, role: string): AuthResult {
    const user = this.#mustUser(name);
    if (role !== ROOT_ROLE) this.#mustRole(role);
    if (user.roles.includes(role)) {
      this.#logger.warn("ignored grant role request to a user", {
        "user-name": name,
        "user-roles": user.roles,
        "duplicate-role-name": role,
      });
      return DONE;
    }
    const roles = [...user.roles, role].sort(inByteOrder);
    this.#putUser({ ...user, roles });
    this.#changed();
    this.#logger.info("granted a role to a user", {
      "user-name": name,
      "user-roles": roles,
      "added-role-name": role,
    });
    return DONE;
  }

  #revokeRole(name: string, role: string): AuthResult {
    if (this.#isEnabled && name === ROOT_USER && role === ROOT_ROLE) {
      this.#logger.error("'root' user cannot revoke 'root' role", {
        "user-name": name,
        "role-name": role,
      });
      throw SERVER_ERRORS.invalidAuthManagement;
    }
    const user = this.#mustUser(name);
    const roles = user.roles.filter((granted) => granted !== role);
    if (roles.length === user.roles.length) throw SERVER_ERRORS.roleNotGranted;
    this.#putUser({ ...user, roles });
    this.#changed();
    this.#logger.info("revoked a role from a user", {
      "user-name": name,
      "old-user-roles": user.roles,
      "new-user-roles": roles,
      "revoked-role-name": role,
    });
    return DONE;
  }

  #userGet(name: string, identity: AuthIdentity): AuthResult {
    const refusal = this.adminRefusal(identity);
    if (refusal !== undefined && name !== identity.username) throw refusal;
    return { kind: "roles", roles: this.#mustUser(name).roles };
  }

  #roleAdd(name: string): AuthResult {
    if (name === "") throw SERVER_ERRORS.roleEmpty;
    if (readAuthRole(this.#backend, name) !== undefined) throw SERVER_ERRORS.roleAlreadyExist;
    const role = utf8FromString(name);
    this.#putRole({ $typeName: "authpb.Role", name: role, keyPermission: [] });
    this.#changed();
    this.#logger.info("created a role", { "role-name": name });
    return DONE;
  }

  #roleDelete(name: string): AuthResult {
    if (this.#isEnabled && name === ROOT_ROLE) {
      this.#logger.error("cannot delete 'root' role", { "role-name": name });
      throw SERVER_ERRORS.invalidAuthManagement;
    }
    this.#mustRole(name);
    deleteAuthRole(this.#backend, name);
    for (const user of readAuthUsers(this.#backend)) {
      const roles = user.roles.filter((granted) => granted !== name);
      if (roles.length < user.roles.length) this.#putUser({ ...user, roles });
    }
    this.#changed();
    this.#logger.info("deleted a role", { "role-name": name });
    return DONE;
  }

  #roleGet(name: string, identity: AuthIdentity): AuthResult {
    const refusal = this.adminRefusal(identity);
    if (refusal !== undefined && !this.#hasRole(identity.username, name)) throw refusal;
    const role = this.#mustRole(name);
    const permissions = name === ROOT_ROLE ? [ROOT_PERMISSION] : role.keyPermission;
    return { kind: "permissions", permissions };
  }

  /**
   * A permission takes the place of one on the same range if that is the first on its key, and is
   * added otherwise: etcd's rule, which all members have to share.
   */
  #grantPermission({ name, perm }: AuthRoleGrantPermissionRequest): AuthResult {
    if (perm === undefined) throw SERVER_ERRORS.permissionNotGiven;
    if (!isGrantable(perm.key, perm.rangeEnd)) throw SERVER_ERRORS.invalidAuthManagement;
    const role = this.#mustRole(name);
    const granted = [...role.keyPermission];
    const i = granted.findIndex(({ key }) => compareBytes(key, perm.key) >= 0);
    if (i >= 0 && isOnRange(granted[i]!, perm)) granted[i] = { ...granted[i]!, ...perm };
    else granted.push(perm);
    granted.sort((a, b) => compareBytes(a.key, b.key));
    this.#putRole({ ...role, keyPermission: granted });
    this.#changed();
    this.#logger.info("granted/updated a permission to a user", {
      "user-name": name,
      "permission-name": PERMISSION_NAMES[perm.permType] ?? "",
    });
    return DONE;
  }

  #revokePermission(request: AuthRoleRevokePermissionRequest): AuthResult {
    const role = this.#mustRole(request.role);
    const keyPermission = role.keyPermission.filter((granted) => !isOnRange(granted, request));
    if (keyPermission.length === role.keyPermission.length) {
      throw SERVER_ERRORS.permissionNotGranted;
    }
    this.#putRole({ ...role, keyPermission });
    this.#changed();
    this.#logger.info("revoked a permission on range", { "role-name": request.role });
    return DONE;
  }

  /** The hash that came with the request, or what etcd before 3.5 left to its members to hash. */
  #passwordOf(request: { readonly password: string; readonly hashedPassword: string }): Uint8Array {
    const { password, hashedPassword } = request;
    const { passwords } = this.ports;
    if (password !== "" && hashedPassword === "" && passwords !== undefined) {
      return passwords.hashNow(password);
    }
    const hash = bytesFromBase64(hashedPassword);
    if (hash === undefined) throw SERVER_ERRORS.noPasswordUser;
    return hash;
  }

  #hasRole(username: string, role: string): boolean {
    const user = this.user(username);
    if (user !== undefined) return user.roles.includes(role);
    this.#logger.warn("'has-role' requested for non-existing user", {
      "user-name": username,
      "role-name": role,
    });
    return false;
  }

  #mustUser(name: string): User {
    const user = this.user(name);
    if (user === undefined) throw SERVER_ERRORS.userNotFound;
    return user;
  }

  #mustRole(name: string): Role {
    const role = readAuthRole(this.#backend, name);
    if (role === undefined) throw SERVER_ERRORS.roleNotFound;
    return role;
  }

  #putUser(user: User): void {
    writeAuthUser(this.#backend, user);
  }

  #putRole(role: Role): void {
    writeAuthRole(this.#backend, role);
  }

  #changed(): void {
    this.#setRevision(this.#revision + 1);
    writeAuthRevision(this.#backend, this.#revision);
    this.#known.clear();
  }

  #setRevision(revision: number): void {
    this.#revision = revision;
    this.#revisionGauge.set(revision);
  }

  #knownUser(name: string): KnownUser | undefined {
    let known = this.#known.get(name);
    if (known !== undefined) return known;
    const user = readAuthUser(this.#backend, name);
    if (user === undefined) return undefined;
    known = { user, permissions: undefined };
    this.#known.set(name, known);
    return known;
  }

  #permissionsOf(known: KnownUser): UserPermissions {
    if (known.permissions !== undefined) return known.permissions;
    const permissions = new UserPermissions();
    for (const role of known.user.roles) {
      const { keyPermission = [] } = readAuthRole(this.#backend, role) ?? {};
      for (const permission of keyPermission) permissions.add(permission);
    }
    known.permissions = permissions;
    return permissions;
  }
}

interface KnownUser {
  readonly user: User;
  /** Undefined until they are asked for. */
  permissions: UserPermissions | undefined;
}

const PERMISSION_NAMES: { readonly [type: number]: string } = {
  [Permission_Type.READ]: "READ",
  [Permission_Type.WRITE]: "WRITE",
  [Permission_Type.READWRITE]: "READWRITE",
};

export function hasNoPassword(user: User): boolean {
  return user.options?.noPassword === true;
}

function hasRootRole(user: User): boolean {
  return user.roles.includes(ROOT_ROLE);
}

function nameOf({ name }: User | Role): string {
  return stringFromUtf8(name);
}

function inByteOrder(a: string, b: string): number {
  return compareBytes(utf8FromString(a), utf8FromString(b));
}

function isOnRange(
  permission: Permission,
  range: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array },
): boolean {
  return (
    compareBytes(permission.key, range.key) === 0 &&
    compareBytes(permission.rangeEnd, range.rangeEnd) === 0
  );
}

function orThrow(refusal: EtcdError | undefined): void {
  if (refusal !== undefined) throw refusal;
}
