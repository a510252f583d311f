/**
 * The load, as a process of its own: `node bench/load.mjs JOB`, a JSON object; prints a JSON object.
 *
 * `job.kind` names a function below. All take `urls`, `connections` and `streams` (calls in flight
 * on each connection).
 */
import { Connection, message } from "./connection.mjs";
import { count, field, revisionOf, scan } from "./protobuf.mjs";

const job = JSON.parse(process.argv[2]);
const PUT = "/etcdserverpb.KV/Put";
const RANGE = "/etcdserverpb.KV/Range";
const TXN = "/etcdserverpb.KV/Txn";
const WATCH = "/etcdserverpb.Watch/Watch";
const GRANT = "/etcdserverpb.Lease/LeaseGrant";
const KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive";
const SNAPSHOT = "/etcdserverpb.Maintenance/Snapshot";

/** Between two requests of `probe`. */
const PROBE_MS = 10;

const now = () => performance.now();

function percentiles(sorted) {
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: sorted.at(-1) };
}

const summary = (times) => percentiles(Float64Array.from(times).sort());

function open(urls, connections) {
  return Promise.all(
    Array.from({ length: connections }, (_, i) => Connection.open(urls[i % urls.length])),
  );
}

/**
 * Keeps `streams` calls in flight on each connection until `requests` were answered or the time is
 * over. `next(worker)` gives the next call of a worker: its path, its bytes, and what to do with
 * the answer.
 */
function closedLoop(connections, next) {
  const times = new Times();
  const started = now();
  const requests = job.requests ?? Infinity;
  const latestMs = started + (job.secondsMax ?? 60) * 1000;
  let sent = 0;
  let open = 0;
  return new Promise((resolve, reject) => {
    const finish = () => {
      const seconds = (now() - started) / 1000;
      const { user, system } = process.cpuUsage();
      const cpu = (user + system) / 1e6;
      resolve({ requests: times.length, seconds, cpu, ...percentiles(times.sorted()) });
    };
    /** One call in flight after the other; makes nothing per call. */
    const run = (connection, worker) => {
      let call;
      let began = 0;
      const start = () => {
        sent += 1;
        open += 1;
        call = next(worker);
        began = connection.nowMs;
        connection.unary(call.path, call.payload, ended, call.answered !== undefined);
      };
      const ended = (answer) => {
        open -= 1;
        if (answer === undefined) {
          reject(new Error(`${call.path}: an answer without a message`));
          return;
        }
        times.push(connection.nowMs - began);
        call.answered?.(answer);
        if (sent < requests && connection.nowMs < latestMs) start();
        else if (open === 0) finish();
      };
      start();
    };
    let worker = 0;
    for (const connection of connections) {
      connection.closed = () => reject(new Error("the connection was closed"));
      connection.nowMs = now();
      for (let i = 0; i < job.streams; i++) if (sent < requests) run(connection, worker++);
    }
  });
}

/** Times, as many as come. */
class Times {
  #values = new Float64Array(1 << 16);
  length = 0;

  push(value) {
    if (this.length === this.#values.length) {
      const larger = new Float64Array(this.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.length++] = value;
  }

  sorted() {
    return this.#values.slice(0, this.length).sort();
  }
}

/** Bytes that no compression and no cache of equal values can help with. */
const value = (bytes) => Buffer.from(Array.from({ length: bytes }, (_, i) => 33 + ((i * 7) % 90)));
const random = (below) => Math.floor(Math.random() * below);
const keyOf = (prefix, i) => `${prefix}${String(i).padStart(8, "0")}`;

/** Precomputed calls, taken in turn. */
async function same(path, payloads) {
  const connections = await open(job.urls, job.connections);
  const calls = payloads.map((payload) => ({ path, payload, answered: undefined }));
  let i = 0;
  return closedLoop(connections, () => calls[i++ % calls.length]);
}

/** `keys` random keys below `prefix`, or one key if it is 1. */
function someKeys() {
  return Array.from({ length: job.keys === 1 ? 1 : 4096 }, () =>
    keyOf(job.prefix, random(job.keys)),
  );
}

const put = () => {
  const bytes = field(2, value(job.valueBytes));
  return same(
    PUT,
    someKeys().map((key) => message(field(1, key), bytes)),
  );
};

const get = () => {
  const how = job.isSerializable === true ? count(7, 1) : Buffer.alloc(0);
  return same(
    RANGE,
    someKeys().map((key) => message(field(1, key), how)),
  );
};

const range = () =>
  same(
    RANGE,
    Array.from({ length: 256 }, () => {
      const from = random(Math.max(1, job.keys - job.limit));
      const start = field(1, keyOf(job.prefix, from));
      return message(start, field(2, `${job.prefix}~`), count(3, job.limit));
    }),
  );

/** Writes keys `[0, keys)` in transactions of 100 puts. */
async function fill() {
  const bytes = field(2, value(job.valueBytes));
  const connections = await open(job.urls, job.connections);
  let i = 0;
  const keysPerCall = job.keysPerCall ?? 100;
  job.requests = Math.ceil(job.keys / keysPerCall);
  job.secondsMax = 300;
  return closedLoop(connections, () => {
    const puts = [];
    for (let k = 0; k < keysPerCall && i < job.keys; k++, i++) {
      puts.push(field(2, field(2, field(1, keyOf(job.prefix, i)), bytes)));
    }
    return { path: TXN, payload: message(...puts) };
  });
}

/** `mod_revision(key) == revision ? [operation] : [get]`. */
function guarded(key, revision, operation) {
  const compare = [count(1, 0), count(2, 2), field(3, key), count(6, revision)];
  return message(field(1, ...compare), field(2, operation), field(3, field(1, field(1, key))));
}

/**
 * Creates, updates and deletes objects as the API server of Kubernetes does; counts those refused
 * because an object of that name was there already.
 */
async function kubernetes() {
  const bytes = field(2, value(job.valueBytes));
  const states = [];
  let refused = 0;
  const connections = await open(job.urls, job.connections);
  const result = await closedLoop(connections, (worker) => {
    const state = (states[worker] ??= { key: "", step: 0, revision: 0 });
    if (state.step === 0) state.key = keyOf(job.prefix, random(1e8));
    const write = field(2, field(1, state.key), bytes);
    const operation = state.step === 2 ? field(3, field(1, state.key)) : write;
    return {
      path: TXN,
      payload: guarded(state.key, state.step === 0 ? 0 : state.revision, operation),
      answered: (answer) => {
        let hasSucceeded = false;
        scan(answer, 0, answer.length, (number) => {
          if (number === 2) hasSucceeded = true;
        });
        if (!hasSucceeded) refused += 1;
        state.revision = revisionOf(answer);
        state.step = hasSucceeded ? (state.step + 1) % 3 : 0;
      },
    };
  });
  if (refused > result.requests / 1000) throw new Error(`${refused} guards refused`);
  return { ...result, refused };
}

/** Reads all of `prefix` in pages, each worker for itself; counts objects. */
async function pages() {
  const connections = await open(job.urls, job.connections);
  const states = [];
  let objects = 0;
  const result = await closedLoop(connections, (worker) => {
    const state = (states[worker] ??= { key: Buffer.from(job.prefix), revision: 0 });
    const at = state.revision === 0 ? Buffer.alloc(0) : count(4, state.revision);
    const bounds = [field(1, state.key), field(2, `${job.prefix}~`), count(3, job.limit)];
    return {
      path: RANGE,
      payload: message(...bounds, at),
      answered: (answer) => {
        let hasMore = false;
        let last;
        if (state.revision === 0) state.revision = revisionOf(answer);
        scan(answer, 0, answer.length, (number, from, to) => {
          if (number === 3) hasMore = true;
          if (number !== 2) return;
          objects += 1;
          last = [from, to];
        });
        if (!hasMore) {
          states[worker] = undefined;
          return;
        }
        scan(answer, ...last, (number, from, to) => {
          if (number === 1) {
            state.key = Buffer.concat([answer.subarray(from, to), Buffer.from([0])]);
          }
        });
      },
    };
  });
  return { ...result, objects };
}

/**
 * `watchers` on one prefix, `perSecond` puts for `seconds`; each value begins with when it was
 * sent.
 */
async function watch() {
  const connections = await open(job.urls, job.connections);
  const lags = [];
  let created = 0;
  let delivered = 0;
  let acknowledged = 0;
  const create = message(field(1, field(1, job.prefix), field(2, `${job.prefix}~`)));
  const looks = (isTimed) => (answer) => {
    scan(answer, 0, answer.length, (number, from, to) => {
      if (number === 3) created += 1;
      if (number !== 11) return;
      delivered += 1;
      if (isTimed) lags.push(now() - sentAt(answer, from, to));
    });
  };
  for (let i = 0; i < job.watchers; i++) {
    // The first of each connection tells lags: looking at all would load the machine instead.
    connections[i % connections.length].stream(WATCH, looks(i < connections.length))(create);
  }
  await until(() => created === job.watchers, 30);
  const writer = await Connection.open(job.urls[0]);
  const started = now();
  let sent = 0;
  let failed = 0;
  while (now() - started < job.seconds * 1000) {
    const due = Math.floor(((now() - started) / 1000) * job.perSecond);
    for (; sent < due && sent - acknowledged < 100; sent++) {
      const stamp = Buffer.alloc(32, "v");
      stamp.writeDoubleBE(now());
      const key = field(1, keyOf(job.prefix, sent % 1000));
      writer.unary(PUT, message(key, field(2, stamp)), (answer) => {
        if (answer === undefined) failed += 1;
        else acknowledged += 1;
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await until(() => {
    if (failed > 0) throw new Error(`${failed} of ${sent} puts failed`);
    return acknowledged === sent && delivered >= sent * job.watchers;
  }, 60);
  const seconds = (now() - started) / 1000;
  return { requests: delivered, puts: acknowledged, seconds, ...summary(lags) };
}

/** When the put was sent that an Event in `bytes[from, to)` tells of. */
function sentAt(bytes, from, to) {
  let at = 0;
  scan(bytes, from, to, (number, start, end) => {
    if (number !== 2) return;
    scan(bytes, start, end, (inner, valueStart) => {
      if (inner === 5) at = bytes.readDoubleBE(valueStart);
    });
  });
  return at;
}

async function until(holds, seconds) {
  for (const started = now(); !holds();) {
    if (now() - started > seconds * 1000) throw new Error(`not after ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Keepalives of `connections * streams` leases, one in flight for each. */
async function keepAlive() {
  const connections = await open(job.urls, job.connections);
  const times = [];
  let sent = 0;
  const started = now();
  await Promise.all(
    connections.flatMap((connection, c) =>
      Array.from({ length: job.streams }, async (_, s) => {
        const id = 1 + random(1e6) * 10_000 + c * job.streams + s;
        const lease = [count(1, 600), count(2, id)];
        await new Promise((resolve) => {
          connection.unary(GRANT, message(...lease), resolve);
        });
        await new Promise((resolve, reject) => {
          let began = 0;
          const send = connection.stream(
            KEEP_ALIVE,
            () => {
              times.push(now() - began);
              next();
            },
            () => reject(new Error("the stream ended")),
          );
          const next = () => {
            if (sent >= job.requests) resolve();
            else {
              sent += 1;
              began = now();
              send(message(count(1, id)));
            }
          };
          next();
        });
      }),
    ),
  );
  return { requests: times.length, seconds: (now() - started) / 1000, ...summary(times) };
}

/** Downloads a snapshot. */
async function snapshot() {
  const [connection] = await open(job.urls, 1);
  const started = now();
  let bytes = 0;
  await new Promise((resolve) => {
    const received = (answer) => {
      scan(answer, 0, answer.length, (number, from, to) => {
        if (number === 3) bytes += to - from;
      });
    };
    connection.stream(SNAPSHOT, received, resolve)(message(), true);
  });
  return { requests: 1, bytes, seconds: (now() - started) / 1000 };
}

/** Calls a method once and waits, however long it takes; a stream of answers is read to its end. */
async function once() {
  const [connection] = await open(job.urls, 1);
  const started = now();
  const payload = message(Buffer.from(job.body ?? "", "hex"));
  const answer = await new Promise((resolve) => {
    connection.unary(job.path, payload, (bytes) => resolve(bytes?.length));
  });
  if (answer === undefined) throw new Error(`${job.path} failed`);
  return { requests: 1, bytes: answer, seconds: (now() - started) / 1000 };
}

/** A serializable get every 10 ms until stdin ends: how late a member answers. */
async function probe() {
  const [connection] = await open(job.urls, 1);
  const payload = message(field(1, job.prefix), count(7, 1));
  const times = [];
  let isOver = false;
  process.stdin.on("end", () => (isOver = true)).resume();
  process.stderr.write("probing\n");
  while (!isOver) {
    const due = now() + PROBE_MS;
    await new Promise((resolve) => {
      connection.unary(RANGE, payload, resolve);
    });
    times.push(now() - (due - PROBE_MS));
    if (now() < due) await new Promise((resolve) => setTimeout(resolve, due - now()));
  }
  return { requests: times.length, seconds: 0, ...summary(times) };
}

/**
 * Puts to keys of a worker in order, until the member goes away; tells how many of each worker
 * were acknowledged.
 */
async function untilKilled() {
  const connections = await open(job.urls, job.connections);
  const bytes = field(2, value(job.valueBytes));
  const acknowledged = new Array(job.connections * job.streams).fill(0);
  let left = connections.length;
  await new Promise((resolve) => {
    connections.forEach((connection, c) => {
      connection.closed = () => {
        if (--left === 0) resolve();
      };
      for (let s = 0; s < job.streams; s++) {
        const worker = c * job.streams + s;
        const next = () => {
          const key = field(1, keyOf(`${job.prefix}${worker}/`, acknowledged[worker]));
          connection.unary(PUT, message(key, bytes), (answer) => {
            if (answer === undefined) return;
            acknowledged[worker] += 1;
            next();
          });
        };
        next();
      }
    });
  });
  return { acknowledged };
}

const kinds = {
  ...{ put, get, range, fill, kubernetes, pages, watch, keepAlive, snapshot, once, probe },
  untilKilled,
};
const run = kinds[job.kind];
if (run === undefined) throw new Error(`no such load: ${job.kind}`);
console.log(JSON.stringify(await run()));
process.exit(0);
