/**
 * What is measured. Each workload has a name, what one round does with a member (or cluster) that
 * was prepared by its `setup`, and the ratio to the reference that is asked for.
 */
const flight = { 1: [1, 1], 10: [10, 1], 100: [10, 10], 1000: [100, 10] };
/** Calls of one round, by how many are in flight. */
const REQUESTS = { 1: 3000, 10: 2000, 100: 60_000, 1000: 120_000 };

function loop(kind, inFlight, more) {
  const [connections, streams] = flight[inFlight];
  return { kind, connections, streams, requests: REQUESTS[inFlight], secondsMax: 20, ...more };
}

const small = { prefix: "/small/", valueBytes: 256 };
const row = (name, job, more = {}) => ({ name, job, bed: "one", ...more });
const puts = (inFlight, keys, bed = "one") => ({
  ...row("", loop("put", inFlight, { ...small, keys }), { bed, isWrite: true }),
  name: `${bed === "three" ? "three members: " : ""}put, ${inFlight} in flight, ${keys === 1 ? "one key" : "random keys"}`,
});
const few = (requests) => ({ requests });

export const WORKLOADS = [
  { ...puts(1, 10_000), wanted: 1 },
  puts(1, 1),
  { ...puts(100, 10_000), wanted: 2.5 },
  puts(100, 1),
  { ...puts(1000, 10_000), wanted: 4 },
  puts(1000, 1),
  row("linearizable get, 1 in flight", loop("get", 1, { ...small, keys: 1 })),
  row("linearizable get, 100 in flight", loop("get", 100, { ...small, keys: 1 }), { wanted: 6 }),
  row("linearizable get, 1000 in flight", loop("get", 1000, { ...small, keys: 1 }), { wanted: 6 }),
  row(
    "serializable get, 100 in flight",
    loop("get", 100, { ...small, keys: 1, isSerializable: true }),
  ),
  row(
    "range of 1,000 keys, 10 in flight",
    loop("range", 10, { ...small, keys: 10_000, limit: 1000 }),
    {
      wanted: 1.5,
    },
  ),
  row(
    "Kubernetes txns of 2 KB, 100 in flight",
    loop("kubernetes", 100, { prefix: "/registry/pods/", valueBytes: 2048 }),
    { wanted: 3, isWrite: true },
  ),
  row(
    "list of 10,000 in pages of 500",
    loop("pages", 1, { prefix: "/small/", limit: 500, ...few(400) }),
  ),
  row(
    "watch: 1,000 watchers, 1,000 events a second",
    {
      ...{ kind: "watch", connections: 10, streams: 100, prefix: "/watched/" },
      ...{ watchers: 1000, perSecond: 1000, seconds: 6 },
    },
    { wanted: 2, by: "cpu" },
  ),
  row("lease keepalives, 100 leases", loop("keepAlive", 100, few(40_000))),
  puts(1, 10_000, "three"),
  puts(100, 10_000, "three"),
  { ...puts(1000, 10_000, "three"), wanted: 2 },
];
