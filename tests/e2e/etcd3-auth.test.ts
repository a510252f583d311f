/** The public npm client `etcd3` as users with roles, on a member it has to log in to. */

import { startEtcd } from "@etcd-ts/embed";
import type { Etcd } from "@etcd-ts/embed";
import {
  Etcd3,
  EtcdAuthenticationFailedError,
  EtcdPermissionDeniedError,
  EtcdRoleExistsError,
  EtcdUserExistsError,
  EtcdUserNotFoundError,
  Range,
} from "etcd3";
import { afterAll, beforeAll, expect, test } from "vitest";

let etcd: Etcd;
let root: Etcd3;
let app: Etcd3;

const as = (username: string, password: string): Etcd3 =>
  new Etcd3({ hosts: [...etcd.endpoints], auth: { username, password } });

beforeAll(async () => {
  etcd = await startEtcd({ bcryptCost: 4 });
  const bare = new Etcd3({ hosts: [...etcd.endpoints] });
  const rootRole = await bare.role("root").create();
  await (await bare.user("root").create("rootpw")).addRole(rootRole);
  const role = await bare.role("app").create();
  await role.grant({ permission: "Readwrite", range: Range.prefix("app/") });
  await (await bare.user("app").create("apppw")).addRole(role);
  await bare.auth.authEnable();
  bare.close();
  root = as("root", "rootpw");
  app = as("app", "apppw");
});

afterAll(async () => {
  root.close();
  app.close();
  await etcd.stop();
});

test("etcd3 reads and writes what its user may, and nothing else", async () => {
  await app.put("app/k").value("v");
  expect(await app.get("app/k").string()).toBe("v");
  expect(await app.getAll().prefix("app/").strings()).toEqual({ "app/k": "v" });
  await expect(app.put("elsewhere").value("v")).rejects.toThrow(EtcdPermissionDeniedError);
  await expect(app.getAll().strings()).rejects.toThrow(EtcdPermissionDeniedError);
  await expect(
    app.if("app/k", "Value", "==", "v").then(app.get("elsewhere")).commit(),
  ).rejects.toThrow(EtcdPermissionDeniedError);
  await root.put("elsewhere").value("v");
  expect(await root.getAll().keys()).toEqual(["app/k", "elsewhere"]);
});

test("etcd3 without a user, or with a wrong password, gets nothing", async () => {
  const nobody = new Etcd3({ hosts: [...etcd.endpoints] });
  await expect(nobody.get("app/k").string()).rejects.toThrow("user name is empty");
  nobody.close();
  const wrong = as("app", "wrong");
  await expect(wrong.get("app/k").string()).rejects.toThrow(EtcdAuthenticationFailedError);
  wrong.close();
});

test("etcd3 holds leases, locks and watches as a user", async () => {
  const lease = app.lease(60);
  await lease.put("app/leased").value("x");
  expect((await lease.keepaliveOnce()).TTL).toBe("60");
  const watcher = await app.watch().key("app/watched").create();
  const seen = new Promise<string>((resolve) =>
    watcher.once("put", ({ value }) => resolve(value.toString())),
  );
  await root.put("app/watched").value("seen");
  expect(await seen).toBe("seen");
  await watcher.cancel();
  await app.lock("app/lock").do(async () => {
    expect(await app.getAll().prefix("app/lock").count()).toBe(1);
  });
  await lease.revoke();
  expect(await app.get("app/leased").string()).toBeNull();
});

test("etcd3 logs in again after a change of users, and lists them as root", async () => {
  await root.user("other").create("otherpw");
  expect(await app.get("app/k").string()).toBe("v");
  const { users } = await root.auth.userList();
  expect(users.sort()).toEqual(["app", "other", "root"]);
  const roles = await root.user("app").roles();
  expect(roles.map(({ name }) => name)).toEqual(["app"]);
  const [permission] = await root.role("app").permissions();
  expect(permission?.permission).toBe("Readwrite");
  await expect(root.user("other").create("x")).rejects.toThrow(EtcdUserExistsError);
  await expect(root.role("app").create()).rejects.toThrow(EtcdRoleExistsError);
  await root.user("other").setPassword("changed");
  const other = as("other", "changed");
  await expect(other.get("app/k").string()).rejects.toThrow(EtcdPermissionDeniedError);
  other.close();
  await root.user("other").delete();
  await expect(root.user("other").roles()).rejects.toThrow(EtcdUserNotFoundError);
});
