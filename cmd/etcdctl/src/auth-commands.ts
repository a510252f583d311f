/** The commands of users, roles and authentication. */

import type { Command } from "./command.ts";
import type { Run } from "./context.ts";
import type * as auth from "./run/auth.ts";
import { boolFlag, stringFlag } from "./global-flags.ts";

type AuthRun = keyof typeof auth;

function run(name: AuthRun): Run {
  return async (context) => (await import("./run/auth.ts"))[name](context);
}

const ASK = boolFlag(
  "interactive",
  "ask for the password; false reads it from standard input",
  true,
);
const RANGE = [
  boolFlag("from-key", "all keys from <key> on"),
  boolFlag("prefix", "all keys that begin with <key>"),
];

const AUTH: Command = {
  name: "auth",
  arguments: "<enable or disable>",
  short: "Turns authentication on and off",
  commands: [
    { name: "enable", short: "Turns authentication on", run: run("authEnable") },
    { name: "disable", short: "Turns authentication off", run: run("authDisable") },
    { name: "status", short: "Tells whether authentication is on", run: run("authStatus") },
  ],
};

const USER: Command = {
  name: "user",
  arguments: "<subcommand>",
  short: "Users",
  commands: [
    {
      name: "add",
      arguments: "<user name or user:password> [options]",
      short: "Creates a user",
      flags: [
        ASK,
        stringFlag("new-user-password", "the password"),
        boolFlag("no-password", "the user logs in by certificate only"),
      ],
      run: run("userAdd"),
    },
    { name: "delete", arguments: "<user name>", short: "Deletes a user", run: run("userDelete") },
    {
      name: "get",
      arguments: "<user name> [options]",
      short: "Prints the roles of a user",
      flags: [boolFlag("detail", "print what the roles permit")],
      run: run("userGet"),
    },
    { name: "list", short: "Lists all users", run: run("userList") },
    {
      name: "passwd",
      arguments: "<user name> [options]",
      short: "Changes a user's password",
      flags: [ASK],
      run: run("userPasswd"),
    },
    {
      name: "grant-role",
      arguments: "<user name> <role name>",
      short: "Gives a role to a user",
      run: run("userGrantRole"),
    },
    {
      name: "revoke-role",
      arguments: "<user name> <role name>",
      short: "Takes a role from a user",
      run: run("userRevokeRole"),
    },
  ],
};

const ROLE: Command = {
  name: "role",
  arguments: "<subcommand>",
  short: "Roles",
  commands: [
    { name: "add", arguments: "<role name>", short: "Creates a role", run: run("roleAdd") },
    { name: "delete", arguments: "<role name>", short: "Deletes a role", run: run("roleDelete") },
    {
      name: "get",
      arguments: "<role name>",
      short: "Prints what a role permits",
      run: run("roleGet"),
    },
    { name: "list", short: "Lists all roles", run: run("roleList") },
    {
      name: "grant-permission",
      arguments: "[options] <role name> <permission type> <key> [endkey]",
      short: "Lets a role read, write or readwrite keys",
      example: "etcdctl role grant-permission app readwrite app/ --prefix",
      flags: RANGE,
      run: run("roleGrantPermission"),
    },
    {
      name: "revoke-permission",
      arguments: "<role name> <key> [endkey]",
      short: "Takes the permission for keys from a role",
      flags: RANGE,
      run: run("roleRevokePermission"),
    },
  ],
};

export const AUTH_COMMANDS: readonly Command[] = [AUTH, USER, ROLE];
