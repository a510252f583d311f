/** Calls of the Auth service as tests write them, and all that a member knows of users and roles. */

import { Permission_Type } from "@etcd-ts/api";

import { bytes, promised, text } from "../member-fixture.ts";
import { ROOT_CONTEXT } from "../server-api.ts";
import type { AuthCallOperation, RequestContext } from "../server-api.ts";
import type { EtcdServer } from "../server.ts";
import type { AuthResult } from "./auth-store.ts";

type Kind = AuthCallOperation["kind"];
type RequestOf<K extends Kind> = Extract<AuthCallOperation, { readonly kind: K }>["request"];

/** An operation without the names of its messages. */
export function operation<K extends Kind>(
  kind: K,
  request: Omit<RequestOf<K>, "$typeName">,
): AuthCallOperation {
  const $typeName = `etcdserverpb.A${kind.slice(1)}Request`;
  return { kind, request: { $typeName, ...request } } as unknown as AuthCallOperation;
}

export const userAdd = (name: string, password: string): AuthCallOperation =>
  operation("authUserAdd", { name, password, hashedPassword: "" });

export const grantPermission = (
  name: string,
  key: string,
  rangeEnd: string,
  permType: Permission_Type = Permission_Type.READWRITE,
): AuthCallOperation =>
  operation("authRoleGrantPermission", {
    name,
    perm: { $typeName: "authpb.Permission", permType, key: bytes(key), rangeEnd: bytes(rangeEnd) },
  });

/** To be carried on by virtual time. */
export async function authCall(
  server: EtcdServer,
  asked: AuthCallOperation,
  context: RequestContext = ROOT_CONTEXT,
): Promise<AuthResult> {
  const { result } = await promised<{ readonly result: AuthResult }>((_context, done) =>
    server.authCall(asked, context, done),
  );
  return result;
}

export async function login(server: EtcdServer, name: string, password: string): Promise<string> {
  const { token } = await promised<{ readonly token: string }>((_context, done) =>
    server.authenticate({ name, password }, done),
  );
  return token;
}

/** What is stored of users and roles, whether they are enforced, and the revision, as one text. */
export async function describeAuth(server: EtcdServer): Promise<string> {
  const ask = (asked: AuthCallOperation): Promise<AuthResult> => authCall(server, asked);
  const lines: string[] = [];
  const status = await ask(operation("authStatus", {}));
  if (status.kind === "status") lines.push(`${status.enabled} at ${status.authRevision}`);
  const users = await ask(operation("authUserList", {}));
  for (const name of users.kind === "users" ? users.users : []) {
    const user = await ask(operation("authUserGet", { name }));
    lines.push(`user ${name}: ${user.kind === "roles" ? user.roles.join(",") : ""}`);
  }
  const roles = await ask(operation("authRoleList", {}));
  for (const role of roles.kind === "roles" ? roles.roles : []) {
    const got = await ask(operation("authRoleGet", { role }));
    const permissions = got.kind === "permissions" ? got.permissions : [];
    const ranges = permissions.map(
      ({ permType, key, rangeEnd }) => `${permType}[${text(key)},${text(rangeEnd)})`,
    );
    lines.push(`role ${role}: ${ranges.join(" ")}`);
  }
  return lines.join("\n");
}
