/** auth, user and role. */

import { Auth } from "@etcd-ts/api";
import { latin1FromBytes, stringFromUtf8 } from "@etcd-ts/base";
import { out } from "@etcd-ts/cli";
import { bytesOf, keyRange } from "@etcd-ts/client";
import type { PermissionType } from "@etcd-ts/client";

import type { Context } from "../context.ts";
import { badArguments } from "../exit.ts";
import { LineReader } from "../lines.ts";
import { askPassword } from "../password.ts";

/** The words of a command that takes exactly `count` of them. */
function exactly(context: Context, count: number, needs: string): readonly string[] {
  if (context.args.length !== count) throw badArguments(needs);
  return context.args;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** Creates the role root, and gives it to the user root, if that is what is missing. */
export async function authEnable(context: Context): Promise<void> {
  exactly(context, 0, "auth enable command does not accept any arguments");
  const { auth } = await context.client();
  for (;;) {
    try {
      await auth.enable(context.timeout);
      break;
    } catch (error) {
      if (codeOf(error) !== "ROOT_ROLE_NOT_EXIST") throw error;
      await auth.roleAdd("root", context.timeout);
      await auth.userGrantRole("root", "root", context.timeout);
    }
  }
  out("Authentication Enabled\n");
}

export async function authDisable(context: Context): Promise<void> {
  exactly(context, 0, "auth disable command does not accept any arguments");
  const { auth } = await context.client();
  await auth.disable(context.timeout);
  out("Authentication Disabled\n");
}

export async function authStatus(context: Context): Promise<void> {
  exactly(context, 0, "auth status command does not accept any arguments");
  const { auth } = await context.client();
  context.printer.authStatus(await auth.status(context.timeout));
}

/** A new password: from a terminal twice, or the first word of standard input. */
async function newPassword(context: Context, user: string): Promise<string> {
  if (!context.flags.bool("interactive")) {
    const line = await new LineReader().next();
    return line?.trim().split(/\s+/)[0] ?? "";
  }
  const password = await askPassword(`Password of ${user}: `);
  if (password === "") throw badArguments("empty password");
  const again = await askPassword(`Type password of ${user} again for confirmation: `);
  if (password !== again) throw badArguments("given passwords are different");
  return password;
}

export async function userAdd(context: Context): Promise<void> {
  const needs = "user add command requires user name as its argument";
  const [word = ""] = exactly(context, 1, needs);
  const { flags } = context;
  let user = word;
  let password: string | undefined;
  const fromFlag = flags.string("new-user-password");
  const colon = word.indexOf(":");
  if (!flags.bool("no-password")) {
    if (fromFlag !== "") password = fromFlag;
    else if (colon < 0) password = await newPassword(context, word);
    else {
      user = word.slice(0, colon);
      password = word.slice(colon + 1);
      if (user === "") throw badArguments("empty user name is not allowed");
    }
  }
  const { auth } = await context.client();
  const response = await auth.userAdd(user, password);
  context.printer.authChange(`User ${user} created`, Auth.UserAdd, response);
}

export async function userDelete(context: Context): Promise<void> {
  const [user = ""] = exactly(context, 1, "user delete command requires user name as its argument");
  const { auth } = await context.client();
  const response = await auth.userDelete(user);
  context.printer.authChange(`User ${user} deleted`, Auth.UserDelete, response);
}

export async function userGet(context: Context): Promise<void> {
  const [user = ""] = exactly(context, 1, "user get command requires user name as its argument");
  const { auth } = await context.client();
  const response = await auth.userGet(user);
  if (!context.flags.bool("detail")) {
    context.printer.userGet(user, response);
    return;
  }
  out(`User: ${user}\n`);
  for (const role of response.roles) {
    out("\n");
    context.printer.roleGet(role, await auth.roleGet(role));
  }
}

export async function userList(context: Context): Promise<void> {
  exactly(context, 0, "user list command requires no arguments");
  const { auth } = await context.client();
  context.printer.userList(await auth.userList());
}

export async function userPasswd(context: Context): Promise<void> {
  const [user = ""] = exactly(context, 1, "user passwd command requires user name as its argument");
  const password = await newPassword(context, user);
  const { auth } = await context.client();
  const response = await auth.userChangePassword(user, password);
  context.printer.authChange("Password updated", Auth.UserChangePassword, response);
}

export async function userGrantRole(context: Context): Promise<void> {
  const needs = "user grant command requires user name and role name as its argument";
  const [user = "", role = ""] = exactly(context, 2, needs);
  const { auth } = await context.client();
  const response = await auth.userGrantRole(user, role);
  context.printer.authChange(
    `Role ${role} is granted to user ${user}`,
    Auth.UserGrantRole,
    response,
  );
}

export async function userRevokeRole(context: Context): Promise<void> {
  const needs = "user revoke-role requires user name and role name as its argument";
  const [user = "", role = ""] = exactly(context, 2, needs);
  const { auth } = await context.client();
  const response = await auth.userRevokeRole(user, role);
  context.printer.authChange(
    `Role ${role} is revoked from user ${user}`,
    Auth.UserRevokeRole,
    response,
  );
}

export async function roleAdd(context: Context): Promise<void> {
  const [role = ""] = exactly(context, 1, "role add command requires role name as its argument");
  const { auth } = await context.client();
  context.printer.authChange(`Role ${role} created`, Auth.RoleAdd, await auth.roleAdd(role));
}

export async function roleDelete(context: Context): Promise<void> {
  const [role = ""] = exactly(context, 1, "role delete command requires role name as its argument");
  const { auth } = await context.client();
  context.printer.authChange(`Role ${role} deleted`, Auth.RoleDelete, await auth.roleDelete(role));
}

export async function roleGet(context: Context): Promise<void> {
  const [role = ""] = exactly(context, 1, "role get command requires role name as its argument");
  const { auth } = await context.client();
  context.printer.roleGet(role, await auth.roleGet(role));
}

export async function roleList(context: Context): Promise<void> {
  exactly(context, 0, "role list command requires no arguments");
  const { auth } = await context.client();
  context.printer.roleList(await auth.roleList());
}

/** The keys a permission is about. */
function permissionRange(
  context: Context,
  words: readonly string[],
): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
  const [key = "", endKey] = words;
  const prefix = context.flags.bool("prefix");
  const fromKey = context.flags.bool("from-key");
  if (prefix && fromKey) {
    throw badArguments("--from-key and --prefix flags are mutually exclusive");
  }
  if (key === "") return keyRange(prefix || fromKey ? "" : "\0", { prefix, fromKey });
  if (endKey === undefined) return keyRange(key, { prefix, fromKey });
  if (prefix) throw badArguments("unexpected endkey argument with --prefix flag");
  if (fromKey) throw badArguments("unexpected endkey argument with --from-key flag");
  return { key: bytesOf(key), rangeEnd: bytesOf(endKey) };
}

const PERMISSIONS: { readonly [name: string]: PermissionType } = {
  READ: "READ",
  WRITE: "WRITE",
  READWRITE: "READWRITE",
};

export async function roleGrantPermission(context: Context): Promise<void> {
  const [role = "", typeName = "", ...words] = context.args;
  if (words.length === 0) {
    throw badArguments(
      "role grant command requires role name, permission type, and key [endkey] as its argument",
    );
  }
  const type = PERMISSIONS[typeName.toUpperCase()];
  if (type === undefined) throw badArguments(`invalid permission type: ${typeName}`);
  const { key, rangeEnd } = permissionRange(context, words);
  const { auth } = await context.client();
  const response = await auth.roleGrantPermission(role, type, key, { rangeEnd });
  context.printer.authChange(`Role ${role} updated`, Auth.RoleGrantPermission, response);
}

export async function roleRevokePermission(context: Context): Promise<void> {
  const [role = "", ...words] = context.args;
  if (words.length === 0) {
    throw badArguments(
      "role revoke-permission command requires role name and key [endkey] as its argument",
    );
  }
  const { key, rangeEnd } = permissionRange(context, words);
  const { auth } = await context.client();
  const response = await auth.roleRevokePermission(role, key, { rangeEnd });
  const begin = words[0] ?? "";
  let what = `range [${begin}, ${stringFromUtf8(rangeEnd)})`;
  if (rangeEnd.length === 0) what = `key ${begin}`;
  else if (latin1FromBytes(rangeEnd) === "\0") what = `range [${begin}, <open ended>`;
  const text = `Permission of ${what} is revoked from role ${role}`;
  context.printer.authChange(text, Auth.RoleRevokePermission, response);
}
