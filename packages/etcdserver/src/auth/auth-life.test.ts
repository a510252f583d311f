/** Tokens in virtual time, and users and roles through crashes, on one member and on three. */

import { PutRequestCodec } from "@etcd-ts/api";
import { EtcdError, randomBelow, SeededRandom } from "@etcd-ts/base";
import type { Random } from "@etcd-ts/base";
import { describe, expect, test } from "vitest";

import { ClusterFixture } from "../cluster-fixture.ts";
import { MemberFixture, SIMULATED_PASSWORDS, bytes, promised } from "../member-fixture.ts";
import { ROOT_CONTEXT } from "../server-api.ts";
import type { AuthCallOperation, RequestContext } from "../server-api.ts";
import type { EtcdServer } from "../server.ts";
import {
  authCall,
  describeAuth,
  grantPermission,
  login,
  operation,
  userAdd,
} from "./auth-fixture.ts";
import type { AuthPorts } from "./ports.ts";

const TTL_MS = 300_000;
const AUTH: AuthPorts = {
  passwords: SIMULATED_PASSWORDS,
  tokens: { kind: "simple", ttlMs: TTL_MS },
};

const as = (token: string): RequestContext => ({
  auth: { kind: "token", token },
  deadlineMs: undefined,
});

/** Users root and app, which may read and write `k`; authentication is on. */
async function setUp(server: EtcdServer): Promise<void> {
  for (const asked of [
    operation("authRoleAdd", { name: "root" }),
    userAdd("root", "r"),
    operation("authUserGrantRole", { user: "root", role: "root" }),
    userAdd("app", "a"),
    operation("authRoleAdd", { name: "app" }),
    grantPermission("app", "k", ""),
    operation("authUserGrantRole", { user: "app", role: "app" }),
    operation("authEnable", {}),
  ]) {
    await authCall(server, asked);
  }
}

/** "ok", or the text of the refusal. */
async function outcome(asked: Promise<unknown>): Promise<string> {
  try {
    await asked;
    return "ok";
  } catch (error) {
    if (error instanceof EtcdError) return error.message;
    throw error;
  }
}

describe("a simple token", () => {
  async function start(): Promise<{ fixture: MemberFixture; put(token: string): Promise<string> }> {
    const fixture = new MemberFixture({ auth: AUTH });
    await fixture.start();
    await fixture.run(setUp(fixture.server));
    const put = (token: string): Promise<string> => {
      const request = PutRequestCodec.create({ key: bytes("k"), value: bytes("v") });
      const asked = promised((_context, done) => fixture.server.put(request, as(token), done));
      return fixture.run(outcome(asked));
    };
    return { fixture, put };
  }

  test("lives as long as it is used, and its time to live after that", async () => {
    const { fixture, put } = await start();
    const used = await fixture.run(login(fixture.server, "app", "a"));
    const idle = await fixture.run(login(fixture.server, "app", "a"));
    for (let i = 0; i < 3; i++) {
      await fixture.clock.advanceSettled(TTL_MS - 1000);
      expect(await put(used)).toBe("ok");
    }
    expect(await put(idle)).toBe("auth: invalid auth token");
    await fixture.clock.advanceSettled(TTL_MS + 1000);
    expect(await put(used)).toBe("auth: invalid auth token");
    const next = await fixture.run(login(fixture.server, "app", "a"));
    expect(await put(next)).toBe("ok");
  });

  test("ends with its process", async () => {
    const { fixture, put } = await start();
    const token = await fixture.run(login(fixture.server, "app", "a"));
    expect(await put(token)).toBe("ok");
    await fixture.restart();
    expect(await put(token)).toBe("auth: invalid auth token");
  });

  test.each<[string, (token: string) => string]>([
    ["another letter", (token) => `${token.startsWith("a") ? "b" : "a"}${token.slice(1)}`],
    ["another index", (token) => `${token}0`],
    ["an index to come", (token) => token.replace(/\d+$/, "99999999999")],
    ["no index", (token) => token.replace(/\.\d+$/, "")],
    ["an index of leading zeros", (token) => token.replace(".", ".0")],
    ["a blank", (token) => ` ${token}`],
    ["nothing", () => ""],
  ])("with %s is none", async (_name, changed) => {
    const { fixture, put } = await start();
    const token = await fixture.run(login(fixture.server, "app", "a"));
    expect(await put(changed(token))).toBe("auth: invalid auth token");
    expect(await put(token)).toBe("ok");
  });

  test("ends with the password, the user, and its rights with the role", async () => {
    const { fixture, put } = await start();
    const { server } = fixture;
    const token = await fixture.run(login(server, "app", "a"));
    await fixture.run(
      authCall(server, operation("authUserRevokeRole", { name: "app", role: "app" })),
    );
    expect(await put(token)).toMatch(/invalid auth token|permission denied/);
    await fixture.run(
      authCall(server, operation("authUserGrantRole", { user: "app", role: "app" })),
    );
    const second = await fixture.run(login(server, "app", "a"));
    expect(await put(second)).toBe("ok");
    const changed = { name: "app", password: "b", hashedPassword: "" };
    await fixture.run(authCall(server, operation("authUserChangePassword", changed)));
    expect(await put(second)).toBe("auth: invalid auth token");
    expect(await fixture.run(outcome(login(server, "app", "a")))).toBe(
      "auth: authentication failed, invalid user ID or password",
    );
    const third = await fixture.run(login(server, "app", "b"));
    await fixture.run(authCall(server, operation("authUserDelete", { name: "app" })));
    expect(await put(third)).toBe("auth: invalid auth token");
  });
});

/**
 * Lets time pass until all that run have applied the same: who does not know yet that authentication
 * is on claims nothing, and is refused.
 */
async function settle(cluster: ClusterFixture): Promise<void> {
  const running = cluster.members.filter(({ isRunning }) => isRunning);
  const applied = (): Set<number> =>
    new Set(running.map(({ server }) => server!.facts().appliedIndex));
  for (let i = 0; i < 400 && applied().size > 1; i++) await cluster.clock.advanceSettled(50);
}

const NAMES = ["u1", "u2", "u3"];
const ROLES = ["r1", "r2"];

function draw(random: Random): AuthCallOperation {
  const name = NAMES[randomBelow(random, NAMES.length)]!;
  const role = ROLES[randomBelow(random, ROLES.length)]!;
  const [key, rangeEnd] = [`k${randomBelow(random, 3)}`, random.float() < 0.5 ? "" : "z"];
  const choices: AuthCallOperation[] = [
    userAdd(name, "p"),
    operation("authUserDelete", { name }),
    operation("authUserChangePassword", { name, password: "q", hashedPassword: "" }),
    operation("authUserGrantRole", { user: name, role }),
    operation("authUserRevokeRole", { name, role }),
    operation("authRoleAdd", { name: role }),
    operation("authRoleDelete", { role }),
    grantPermission(role, key, rangeEnd),
    operation("authRoleRevokePermission", { role, key: bytes(key), rangeEnd: bytes(rangeEnd) }),
    operation("authEnable", {}),
    operation("authDisable", {}),
  ];
  return choices[randomBelow(random, choices.length)]!;
}

describe("users and roles outlive crashes", () => {
  test.each([1, 2, 3, 4])("on one member, seed %i", async (seed) => {
    const config = { snapshotCount: 20 };
    const fixture = new MemberFixture({ seed, auth: AUTH, config });
    // Does what the other was seen to do, and is never interrupted.
    const twin = new MemberFixture({ seed, auth: AUTH, config });
    const random = new SeededRandom(seed).split("auth");
    for (const one of [fixture, twin]) {
      await one.start();
      await one.run(setUp(one.server));
    }
    for (let life = 0; life < 6; life++) {
      for (let i = 0; i < 12; i++) {
        const asked = draw(random);
        const outcomes: string[] = [];
        for (const one of [fixture, twin]) {
          outcomes.push(await one.run(outcome(authCall(one.server, asked))));
        }
        expect(outcomes[0]).toBe(outcomes[1]);
      }
      const acknowledged = await twin.run(describeAuth(twin.server));
      const last = draw(random);
      void authCall(fixture.server, last).catch(() => undefined);
      await fixture.clock.advanceSettled(randomBelow(random, 3));
      await fixture.crash(random);
      await fixture.start();
      const after = await fixture.run(describeAuth(fixture.server));
      if (after === acknowledged) continue;
      // Nobody heard of the last one, so it may have happened, as a whole.
      await twin.run(outcome(authCall(twin.server, last)));
      expect(after, `seed ${seed}`).toBe(await twin.run(describeAuth(twin.server)));
    }
  });

  test.each([1, 2, 3, 4])("the same on each of three, seed %i", async (seed) => {
    const config = { snapshotCount: 20, snapshotCatchupEntries: 5 };
    const cluster = new ClusterFixture({ seed, auth: AUTH, config });
    const random = new SeededRandom(seed).split("auth");
    await cluster.startAll();
    await cluster.run(setUp((await cluster.elect()).server!));
    const change = (server: EtcdServer): Promise<string> =>
      cluster.run(outcome(authCall(server, draw(random))));
    for (let round = 0; round < 6; round++) {
      const victim = cluster.members[randomBelow(random, 3)]!;
      const others = cluster.members.filter((member) => member !== victim);
      for (const { server } of cluster.members) await change(server!);
      void authCall(victim.server!, draw(random)).catch(() => undefined);
      await cluster.clock.advanceSettled(randomBelow(random, 4));
      await cluster.crash(victim);
      await cluster.elect(others);
      for (const { server } of others) await change(server!);
      await settle(cluster);
      const acknowledged = await cluster.run(describeAuth(others[0]!.server!));
      await cluster.run(cluster.start(victim));
      await cluster.elect();
      await settle(cluster);
      const stored = new Set<number>();
      for (const { server, name } of cluster.members) {
        const described = await cluster.run(describeAuth(server!));
        expect(described, `seed ${seed}, ${name}`).toBe(acknowledged);
      }
      await settle(cluster);
      for (const { server } of cluster.members) {
        const asked = promised<number>((_context, done) => server!.hash(ROOT_CONTEXT, done));
        stored.add(await cluster.run(asked));
      }
      expect(stored.size, `seed ${seed}: the bytes of all buckets`).toBe(1);
    }
  });
});
