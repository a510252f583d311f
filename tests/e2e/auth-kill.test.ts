/** kill -9 while users and roles change: what was acknowledged is there afterwards, and enforced. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { randomBelow, SeededRandom } from "@etcd-ts/base";
import { expect, test } from "vitest";

import { MemberProcess } from "../processes/member-process.ts";

const SEED = 7;
const LIVES = 5;
const UNHEARD_MS_MAX = 60;

test("users, roles and the switch outlive kill -9", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-auth-kill-"));
  const random = new SeededRandom(SEED);
  const member = await MemberProcess.start(join(directory, "data"), "--bcrypt-cost=4");
  const login = async (name: string, password: string): Promise<string> =>
    String((await member.post("auth/authenticate", { name, password }))["token"]);
  try {
    await member.post("auth/role/add", { name: "root" });
    await member.post("auth/user/add", { name: "root", password: "pw" });
    await member.post("auth/user/grant", { user: "root", role: "root" });
    let isEnabled = false;
    const acknowledged: string[] = [];
    for (let life = 0; life < LIVES; life++) {
      const token = isEnabled ? await login("root", "pw") : undefined;
      const run = { isOver: false };
      const adding = async (): Promise<void> => {
        for (let i = 0; !run.isOver; i++) {
          const name = `u${life}-${i}`;
          await member.post("auth/user/add", { name, password: `pw-${name}` }, token);
          acknowledged.push(name);
        }
      };
      // After the switch it is refused, or its token is old.
      const added = adding().catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 50 + randomBelow(random, UNHEARD_MS_MAX)));
      const switched = member.post(`auth/${isEnabled ? "disable" : "enable"}`, {}, token).then(
        () => "done",
        () => "unheard",
      );
      if (life % 2 === 0) await switched;
      await new Promise((resolve) => setTimeout(resolve, randomBelow(random, UNHEARD_MS_MAX)));
      run.isOver = true;
      await member.end("SIGKILL");
      await added;
      const wasDone = (await switched) === "done";
      await member.up();
      // Nobody may ask whether authentication is on; so it is asked for something.
      const isOn = await member.post("kv/range", { key: "YQ==" }).then(
        () => false,
        (error: Error) => {
          expect(error.message).toBe("etcdserver: user name is empty");
          return true;
        },
      );
      if (wasDone) expect(isOn, `seed ${SEED}, life ${life}`).toBe(!isEnabled);
      isEnabled = isOn;
      const asRoot = isOn ? await login("root", "pw") : undefined;
      const { users = [] } = await member.post("auth/user/list", {}, asRoot);
      for (const name of acknowledged) expect(users, `seed ${SEED}`).toContain(name);
      if (isOn) {
        for (const name of acknowledged.slice(-3)) {
          expect(await login(name, `pw-${name}`)).toMatch(/\.\d+$/);
        }
      }
    }
    expect(acknowledged.length).toBeGreaterThan(0);
  } finally {
    await member.end("SIGKILL");
    rmSync(directory, { recursive: true });
  }
});
