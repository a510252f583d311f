/** A leader that is slow or gone: what is told of it, and how soon the others go on. */

import { describe, expect, test } from "vitest";

import { putMany, started } from "./cluster-fixture.ts";
import type { ClusterMember } from "./cluster-fixture.ts";
import { MemberFixture } from "./member-fixture.ts";

describe("late heartbeats", () => {
  const LATE =
    "leader failed to send out heartbeat on time; took too long, leader is overloaded likely from slow disk";

  function told(member: ClusterMember) {
    return member.logger.events.filter(({ message }) => message === LATE);
  }

  test("of a leader in good health are none", async () => {
    const { cluster, leader } = await started();
    await putMany(cluster, leader, 50);
    await cluster.clock.advanceSettled(5000);
    expect(told(leader)).toEqual([]);
  });

  test("are told with the slow disk that caused them", async () => {
    const { cluster, leader } = await started();
    await cluster.clock.advanceSettled(500);
    leader.syncDelayMs = 500;
    await cluster.put(leader, "key", "value");
    await cluster.clock.advanceSettled(1000);
    const events = told(leader);
    expect(events.length).toBeGreaterThan(0);
    expect(events[0]!.fields).toMatchObject({
      "heartbeat-interval": "100ms",
      "expected-duration": "200ms",
      cause: "slow disk",
      took: "500ms",
    });
    expect(leader.metrics.value("etcd_server_heartbeat_send_failures_total")).toBe(events.length);
  });

  test("are told with the busy process that caused them", async () => {
    const { cluster, leader } = await started();
    await cluster.clock.advanceSettled(500);
    leader.clock.pause();
    await cluster.clock.advanceSettled(700);
    leader.clock.resume();
    await cluster.clock.advanceSettled(500);
    const [event] = told(leader);
    expect(event?.fields).toMatchObject({ cause: "busy process" });
  });

  test("a sync of more than a second is told by itself", async () => {
    const { cluster, leader } = await started();
    leader.syncDelayMs = 1100;
    await cluster.put(leader, "key", "value").catch(() => undefined);
    const slow = leader.logger.events.find(({ message }) => message === "slow fdatasync");
    expect(slow?.fields).toMatchObject({ took: "1.1s", "expected-duration": "1s" });
  });
});

describe("elections", () => {
  test.each([1, 2, 3, 4, 5])("come in time though timers are late, seed %i", async (seed) => {
    const { cluster, leader, followers } = await started({ seed });
    await cluster.clock.advanceSettled(1000);
    for (const follower of followers) follower.clock.lateMs = 60;
    await cluster.clock.advanceSettled(1000);
    cluster.isolate([leader]);
    const startMs = cluster.clock.monotonicMs();
    await cluster.elect(followers);
    // Two election timeouts, and little more: a beat that is late delays none of the others.
    expect(cluster.clock.monotonicMs() - startMs).toBeLessThan(2300);
  });
});

describe("writes after the leader is gone", () => {
  test("wait for the next leader, and no longer", async () => {
    const { cluster, leader, followers } = await started();
    await cluster.clock.advanceSettled(1000);
    // As a process that was killed: it hands nothing over.
    cluster.isolate([leader]);
    leader.isRunning = false;
    // Nobody has noticed yet.
    expect(followers[0]!.server!.facts().leaderID).toBe(leader.id);
    const startMs = cluster.clock.monotonicMs();
    const writes = followers.map((member, i) => cluster.putLater(member, `key${i}`, "value"));
    await cluster.run(Promise.all(writes));
    expect(cluster.clock.monotonicMs() - startMs).toBeLessThan(2500);
    for (const i of followers.keys())
      expect(await cluster.get(followers[0]!, `key${i}`)).toBe("value");
  });
});

describe("slow requests", () => {
  test("are told and counted, without what they hold", async () => {
    const member = new MemberFixture({ config: { warningApplyDurationMs: -1 } });
    await member.start();
    await member.put("secret-key", "secret-value");
    await member.range("secret-key");
    const told = member.logger.events.filter(
      ({ message }) => message === "apply request took too long",
    );
    const requests = told.map(({ fields }) => [fields["prefix"], fields["request"]]);
    expect(requests).toContainEqual(["", "Put"]);
    expect(requests).toContainEqual(["read-only range ", "Range"]);
    expect(told[0]!.fields["expected-duration"]).toBe("-1ms");
    expect(JSON.stringify(told)).not.toContain("secret");
    expect(member.metrics.value("etcd_server_slow_apply_total")).toBe(told.length);
    await member.stop();
  });
});
