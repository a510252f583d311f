/** The Auth service: each call is an operation of the log, but for the login. */

import { Auth, generatedHeader, rpcErrorFrom } from "@etcd-ts/api";
import type { MethodDescriptor } from "@etcd-ts/api";
import { invariant } from "@etcd-ts/base";
import type { AuthCallOperation, AuthResponse, AuthResult } from "@etcd-ts/etcdserver";

import { contextOf } from "./headers.ts";
import type { GeneratedHeader } from "./headers.ts";
import type { ServiceParts } from "./parts.ts";

export function registerAuth(parts: ServiceParts): void {
  const { table, server } = parts;
  table.unary(Auth.Authenticate, ({ name, password }, call) => {
    server.authenticate({ name, password }, (error, response) => {
      if (response === undefined) call.fail(rpcErrorFrom(error));
      else {
        const { token } = response;
        const header = generatedHeader(response.header);
        call.respond({ $typeName: "etcdserverpb.AuthenticateResponse", header, token });
      }
    });
  });
  registerSwitch(parts);
  registerUsers(parts);
  registerRoles(parts);
}

function registerSwitch(parts: ServiceParts): void {
  serve(parts, Auth.AuthEnable, "authEnable", (header) => ({
    $typeName: "etcdserverpb.AuthEnableResponse" as const,
    header,
  }));
  serve(parts, Auth.AuthDisable, "authDisable", (header) => ({
    $typeName: "etcdserverpb.AuthDisableResponse" as const,
    header,
  }));
  serve(parts, Auth.AuthStatus, "authStatus", (header, result) => {
    const { enabled, authRevision } = mustBe("status", result);
    return {
      $typeName: "etcdserverpb.AuthStatusResponse" as const,
      header,
      enabled,
      authRevision: BigInt(authRevision),
    };
  });
}

function registerUsers(parts: ServiceParts): void {
  serve(parts, Auth.UserAdd, "authUserAdd", (header) => ({
    $typeName: "etcdserverpb.AuthUserAddResponse" as const,
    header,
  }));
  serve(parts, Auth.UserDelete, "authUserDelete", (header) => ({
    $typeName: "etcdserverpb.AuthUserDeleteResponse" as const,
    header,
  }));
  serve(parts, Auth.UserChangePassword, "authUserChangePassword", (header) => ({
    $typeName: "etcdserverpb.AuthUserChangePasswordResponse" as const,
    header,
  }));
  serve(parts, Auth.UserGrantRole, "authUserGrantRole", (header) => ({
    $typeName: "etcdserverpb.AuthUserGrantRoleResponse" as const,
    header,
  }));
  serve(parts, Auth.UserRevokeRole, "authUserRevokeRole", (header) => ({
    $typeName: "etcdserverpb.AuthUserRevokeRoleResponse" as const,
    header,
  }));
  serve(parts, Auth.UserGet, "authUserGet", (header, result) => ({
    $typeName: "etcdserverpb.AuthUserGetResponse" as const,
    header,
    roles: [...mustBe("roles", result).roles],
  }));
  serve(parts, Auth.UserList, "authUserList", (header, result) => ({
    $typeName: "etcdserverpb.AuthUserListResponse" as const,
    header,
    users: [...mustBe("users", result).users],
  }));
}

function registerRoles(parts: ServiceParts): void {
  serve(parts, Auth.RoleAdd, "authRoleAdd", (header) => ({
    $typeName: "etcdserverpb.AuthRoleAddResponse" as const,
    header,
  }));
  serve(parts, Auth.RoleDelete, "authRoleDelete", (header) => ({
    $typeName: "etcdserverpb.AuthRoleDeleteResponse" as const,
    header,
  }));
  serve(parts, Auth.RoleGrantPermission, "authRoleGrantPermission", (header) => ({
    $typeName: "etcdserverpb.AuthRoleGrantPermissionResponse" as const,
    header,
  }));
  serve(parts, Auth.RoleRevokePermission, "authRoleRevokePermission", (header) => ({
    $typeName: "etcdserverpb.AuthRoleRevokePermissionResponse" as const,
    header,
  }));
  serve(parts, Auth.RoleGet, "authRoleGet", (header, result) => ({
    $typeName: "etcdserverpb.AuthRoleGetResponse" as const,
    header,
    perm: [...mustBe("permissions", result).permissions],
  }));
  serve(parts, Auth.RoleList, "authRoleList", (header, result) => ({
    $typeName: "etcdserverpb.AuthRoleListResponse" as const,
    header,
    roles: [...mustBe("roles", result).roles],
  }));
}

type RequestOf<K> = Extract<AuthCallOperation, { readonly kind: K }>["request"];

/** Has the request of a method applied as an operation, and answers with what comes of it. */
function serve<K extends AuthCallOperation["kind"], O>(
  { table, server }: ServiceParts,
  method: MethodDescriptor<RequestOf<K>, O>,
  kind: K,
  respond: (header: GeneratedHeader, result: AuthResult) => O,
): void {
  table.unary(method, (request, call) => {
    // One kind has one type of request; the compiler does not see that through the union.
    const operation = { kind, request } as unknown as AuthCallOperation;
    const done = (error: Parameters<typeof rpcErrorFrom>[0], response?: AuthResponse): void => {
      if (response === undefined) call.fail(rpcErrorFrom(error));
      else call.respond(respond(generatedHeader(response.header), response.result));
    };
    server.authCall(operation, contextOf(call), done);
  });
}

function mustBe<K extends AuthResult["kind"]>(
  kind: K,
  result: AuthResult,
): Extract<AuthResult, { readonly kind: K }> {
  invariant(result.kind === kind, () => `Auth: ${result.kind} for ${kind}`);
  return result as Extract<AuthResult, { readonly kind: K }>;
}
