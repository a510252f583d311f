/** Users, roles and permissions. */

import { create } from "@bufbuild/protobuf";
import {
  Auth,
  AuthDisableRequestSchema,
  AuthEnableRequestSchema,
  AuthRoleAddRequestSchema,
  AuthRoleDeleteRequestSchema,
  AuthRoleGetRequestSchema,
  AuthRoleGrantPermissionRequestSchema,
  AuthRoleListRequestSchema,
  AuthRoleRevokePermissionRequestSchema,
  AuthStatusRequestSchema,
  AuthUserAddRequestSchema,
  AuthUserChangePasswordRequestSchema,
  AuthUserDeleteRequestSchema,
  AuthUserGetRequestSchema,
  AuthUserGrantRoleRequestSchema,
  AuthUserListRequestSchema,
  AuthUserRevokeRoleRequestSchema,
  Permission_Type,
} from "@etcd-ts/api";
import type {
  AuthDisableResponse,
  AuthEnableResponse,
  AuthRoleAddResponse,
  AuthRoleDeleteResponse,
  AuthRoleGetResponse,
  AuthRoleGrantPermissionResponse,
  AuthRoleListResponse,
  AuthRoleRevokePermissionResponse,
  AuthStatusResponse,
  AuthUserAddResponse,
  AuthUserChangePasswordResponse,
  AuthUserDeleteResponse,
  AuthUserGetResponse,
  AuthUserGrantRoleResponse,
  AuthUserListResponse,
  AuthUserRevokeRoleResponse,
} from "@etcd-ts/api";

import { keyRange } from "./bytes.ts";
import type { Bytes, RangeOptions } from "./bytes.ts";
import type { Caller } from "./caller.ts";
import type { RequestOptions } from "./options.ts";

export type PermissionType = keyof typeof Permission_Type;

export class AuthClient {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  enable(options?: RequestOptions): Promise<AuthEnableResponse> {
    return this.#caller.unary(Auth.AuthEnable, create(AuthEnableRequestSchema), "write", options);
  }

  disable(options?: RequestOptions): Promise<AuthDisableResponse> {
    return this.#caller.unary(Auth.AuthDisable, create(AuthDisableRequestSchema), "write", options);
  }

  status(options?: RequestOptions): Promise<AuthStatusResponse> {
    return this.#caller.unary(Auth.AuthStatus, create(AuthStatusRequestSchema), "read", options);
  }

  /** @param password - undefined: the user can log in by certificate only */
  userAdd(
    name: string,
    password: string | undefined,
    options?: RequestOptions,
  ): Promise<AuthUserAddResponse> {
    const request = create(AuthUserAddRequestSchema, {
      name,
      password: password ?? "",
      options: { noPassword: password === undefined },
    });
    return this.#caller.unary(Auth.UserAdd, request, "write", options);
  }

  userDelete(name: string, options?: RequestOptions): Promise<AuthUserDeleteResponse> {
    const request = create(AuthUserDeleteRequestSchema, { name });
    return this.#caller.unary(Auth.UserDelete, request, "write", options);
  }

  userGet(name: string, options?: RequestOptions): Promise<AuthUserGetResponse> {
    const request = create(AuthUserGetRequestSchema, { name });
    return this.#caller.unary(Auth.UserGet, request, "read", options);
  }

  userList(options?: RequestOptions): Promise<AuthUserListResponse> {
    return this.#caller.unary(Auth.UserList, create(AuthUserListRequestSchema), "read", options);
  }

  userChangePassword(
    name: string,
    password: string,
    options?: RequestOptions,
  ): Promise<AuthUserChangePasswordResponse> {
    const request = create(AuthUserChangePasswordRequestSchema, { name, password });
    return this.#caller.unary(Auth.UserChangePassword, request, "write", options);
  }

  userGrantRole(
    user: string,
    role: string,
    options?: RequestOptions,
  ): Promise<AuthUserGrantRoleResponse> {
    const request = create(AuthUserGrantRoleRequestSchema, { user, role });
    return this.#caller.unary(Auth.UserGrantRole, request, "write", options);
  }

  userRevokeRole(
    name: string,
    role: string,
    options?: RequestOptions,
  ): Promise<AuthUserRevokeRoleResponse> {
    const request = create(AuthUserRevokeRoleRequestSchema, { name, role });
    return this.#caller.unary(Auth.UserRevokeRole, request, "write", options);
  }

  roleAdd(name: string, options?: RequestOptions): Promise<AuthRoleAddResponse> {
    const request = create(AuthRoleAddRequestSchema, { name });
    return this.#caller.unary(Auth.RoleAdd, request, "write", options);
  }

  roleDelete(role: string, options?: RequestOptions): Promise<AuthRoleDeleteResponse> {
    const request = create(AuthRoleDeleteRequestSchema, { role });
    return this.#caller.unary(Auth.RoleDelete, request, "write", options);
  }

  roleGet(role: string, options?: RequestOptions): Promise<AuthRoleGetResponse> {
    const request = create(AuthRoleGetRequestSchema, { role });
    return this.#caller.unary(Auth.RoleGet, request, "read", options);
  }

  roleList(options?: RequestOptions): Promise<AuthRoleListResponse> {
    return this.#caller.unary(Auth.RoleList, create(AuthRoleListRequestSchema), "read", options);
  }

  roleGrantPermission(
    name: string,
    type: PermissionType,
    key: Bytes,
    options: RangeOptions & RequestOptions = {},
  ): Promise<AuthRoleGrantPermissionResponse> {
    const request = create(AuthRoleGrantPermissionRequestSchema, {
      name,
      perm: { permType: Permission_Type[type], ...keyRange(key, options) },
    });
    return this.#caller.unary(Auth.RoleGrantPermission, request, "write", options);
  }

  roleRevokePermission(
    role: string,
    key: Bytes,
    options: RangeOptions & RequestOptions = {},
  ): Promise<AuthRoleRevokePermissionResponse> {
    const request = create(AuthRoleRevokePermissionRequestSchema, {
      role,
      ...keyRange(key, options),
    });
    return this.#caller.unary(Auth.RoleRevokePermission, request, "write", options);
  }
}
