/** Transactions against a model that keeps every key in a plain map. */

import fc from "fast-check";
import { expect, test } from "vitest";

import {
  CompareCodec,
  CompareResult,
  CompareTarget,
  DeleteRangeRequestCodec,
  PutRequestCodec,
  RangeRequestCodec,
  SERVER_ERRORS,
} from "@etcd-ts/api";
import type {
  Compare,
  PutRequest,
  RequestOp,
  ResponseOp,
  TxnRequest,
  TxnResponse,
} from "@etcd-ts/api";
import {
  MemoryDisk,
  MemoryLogger,
  MemoryMetrics,
  VirtualClock,
  bytesFromLatin1,
  latin1FromBytes,
} from "@etcd-ts/base";
import { Backend, MvccStore, createBuckets } from "@etcd-ts/storage";
import type { LeaseBook } from "@etcd-ts/storage";

import {
  executeReadOnlyTxn,
  executeReadOnlyTxnSliced,
  executeTxn,
  isReadOnlyTxn,
} from "./execute.ts";

const NO_LEASES: LeaseBook = {
  attach: () => undefined,
  detach: () => undefined,
  isEmpty: true,
  leaseOf: () => 0n,
};
/** Lease 1 exists, no other. */
const LEASES = { has: (id: bigint) => id === 1n };

async function openStore(): Promise<MvccStore> {
  const clock = new VirtualClock();
  const logger = new MemoryLogger("error");
  const metrics = new MemoryMetrics();
  const disk = new MemoryDisk();
  const backend = await Backend.open({ disk, clock, path: "/db", logger, metrics });
  createBuckets(backend);
  return MvccStore.open({ backend, leases: NO_LEASES, clock, logger, metrics });
}

interface ModelKey {
  value: string;
  create: number;
  mod: number;
  version: number;
  lease: bigint;
}

/** The rules of transactions, written down as plainly as possible. */
class Model {
  keys = new Map<string, ModelKey>();
  revision = 1;

  inRange(key: string, end: string): [string, ModelKey][] {
    return [...this.keys]
      .filter(([name]) => (end === "" ? name === key : name >= key && (end === "\0" || name < end)))
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }

  holds(compare: Compare): boolean {
    const found = this.inRange(latin1FromBytes(compare.key), latin1FromBytes(compare.rangeEnd));
    const missing: ModelKey = { value: "", create: 0, mod: 0, version: 0, lease: 0n };
    if (found.length === 0) {
      return compare.target !== CompareTarget.VALUE && this.#holdsFor(compare, missing);
    }
    return found.every(([, key]) => this.#holdsFor(compare, key));
  }

  #holdsFor(compare: Compare, key: ModelKey): boolean {
    const [left, right] = this.#sides(compare, key);
    switch (compare.result) {
      case CompareResult.EQUAL:
        return left === right;
      case CompareResult.NOT_EQUAL:
        return left !== right;
      case CompareResult.GREATER:
        return left > right;
      default:
        return left < right;
    }
  }

  #sides(
    { target, value }: Compare,
    key: ModelKey,
  ): [string | number | bigint, string | number | bigint] {
    switch (target) {
      case CompareTarget.VALUE:
        return [key.value, value.kind === "value" ? latin1FromBytes(value.value) : ""];
      case CompareTarget.CREATE:
        return [key.create, value.kind === "createRevision" ? value.createRevision : 0];
      case CompareTarget.MOD:
        return [key.mod, value.kind === "modRevision" ? value.modRevision : 0];
      case CompareTarget.VERSION:
        return [key.version, value.kind === "version" ? value.version : 0];
      default:
        return [key.lease, value.kind === "lease" ? value.lease : 0n];
    }
  }

  /** What the transaction answers; undefined if it is refused, and then nothing has changed. */
  run(request: TxnRequest): string | undefined {
    const before = new Map([...this.keys].map(([name, key]) => [name, { ...key }]));
    const next = this.revision + 1;
    const paths = new Map<TxnRequest, boolean>();
    this.#choose(request, paths);
    const state = { isChanged: false };
    const answer = this.#refuses(request, paths, [])
      ? undefined
      : this.#execute(request, paths, next, state);
    if (answer === undefined) this.keys = before;
    else if (state.isChanged) this.revision = next;
    return answer === undefined ? undefined : `${answer} @${this.revision}`;
  }

  #choose(request: TxnRequest, paths: Map<TxnRequest, boolean>): void {
    const succeeded = request.compare.every((compare) => this.holds(compare));
    paths.set(request, succeeded);
    for (const op of succeeded ? request.success : request.failure) {
      if (op.kind === "txn") this.#choose(op.txn, paths);
    }
  }

  #refuses(request: TxnRequest, paths: Map<TxnRequest, boolean>, gone: string[]): boolean {
    return (paths.get(request)! ? request.success : request.failure).some((op) => {
      switch (op.kind) {
        case "txn":
          return this.#refuses(op.txn, paths, gone);
        case "deleteRange": {
          const { key, rangeEnd } = op.deleteRange;
          const range = this.inRange(latin1FromBytes(key), latin1FromBytes(rangeEnd));
          gone.push(...range.map(([name]) => name));
          return false;
        }
        case "put": {
          const name = latin1FromBytes(op.put.key);
          const wantsKey = op.put.ignoreValue || op.put.ignoreLease;
          const isMissing = !this.keys.has(name) || gone.includes(name);
          return (wantsKey && isMissing) || (op.put.lease !== 0n && op.put.lease !== 1n);
        }
        case "range":
          return op.range.revision > this.revision;
        default:
          return false;
      }
    });
  }

  #execute(
    request: TxnRequest,
    paths: Map<TxnRequest, boolean>,
    next: number,
    state: { isChanged: boolean },
  ): string {
    const ops = paths.get(request)! ? request.success : request.failure;
    const answers = ops.map((op) => {
      switch (op.kind) {
        case "range": {
          const { key, rangeEnd } = op.range;
          const found = this.inRange(latin1FromBytes(key), latin1FromBytes(rangeEnd));
          return `range ${found.map(([name, { value, version }]) => `${name}=${value}v${version}`).join()}`;
        }
        case "put": {
          const name = latin1FromBytes(op.put.key);
          const old = this.keys.get(name);
          this.keys.set(name, {
            value: op.put.ignoreValue ? old!.value : latin1FromBytes(op.put.value),
            lease: op.put.ignoreLease ? old!.lease : op.put.lease,
            create: old?.create ?? next,
            mod: next,
            version: (old?.version ?? 0) + 1,
          });
          state.isChanged = true;
          return `put ${op.put.prevKV ? (old?.value ?? "none") : ""}`;
        }
        case "deleteRange": {
          const { key, rangeEnd } = op.deleteRange;
          const found = this.inRange(latin1FromBytes(key), latin1FromBytes(rangeEnd));
          for (const [name] of found) this.keys.delete(name);
          state.isChanged ||= found.length > 0;
          return `delete ${found.length}`;
        }
        case "txn":
          return `[${this.#execute(op.txn, paths, next, state)}]`;
        default:
          return "none";
      }
    });
    return `${paths.get(request)! ? "then" : "else"} ${answers.join("; ")}`;
  }
}

/** The answer in the words of the model. */
function show(response: TxnResponse): string {
  return `${response.succeeded ? "then" : "else"} ${response.responses.map(showOp).join("; ")}`;
}

function showOp(op: ResponseOp): string {
  switch (op.kind) {
    case "range": {
      const pairs = op.range.kvs.map(
        (kv) => `${latin1FromBytes(kv.key)}=${latin1FromBytes(kv.value)}v${kv.version}`,
      );
      return `range ${pairs.join()}`;
    }
    case "put": {
      const { prevKV } = op.put;
      return `put ${prevKV === undefined ? "" : latin1FromBytes(prevKV.value)}`;
    }
    case "deleteRange":
      return `delete ${op.deleteRange.deleted}`;
    case "txn":
      return `[${show(op.txn)}]`;
    default:
      return "none";
  }
}

const name = fc.constantFrom("a", "b", "c");
const end = fc.constantFrom("", "", "b", "c", "d", "\0");
const small = fc.integer({ min: 0, max: 6 });
const compare: fc.Arbitrary<Compare> = fc
  .record({
    result: fc.integer({ min: 0, max: 3 }),
    target: fc.integer({ min: 0, max: 4 }),
    key: name.map(bytesFromLatin1),
    rangeEnd: end.map(bytesFromLatin1),
    value: fc.oneof(
      small.map((version) => ({ kind: "version", version }) as const),
      small.map((createRevision) => ({ kind: "createRevision", createRevision }) as const),
      small.map((modRevision) => ({ kind: "modRevision", modRevision }) as const),
      fc
        .constantFrom("", "x", "y")
        .map((value) => ({ kind: "value", value: bytesFromLatin1(value) }) as const),
      fc.constantFrom(0n, 1n).map((lease) => ({ kind: "lease", lease }) as const),
    ),
  })
  .map((fields) => CompareCodec.create(fields));

const requests = fc.letrec<{ op: RequestOp; txn: TxnRequest }>((tie) => ({
  op: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    fc
      .record({ key: name, rangeEnd: end, revision: fc.constantFrom(0, 0, 0, 99) })
      .map(({ key, rangeEnd, revision }): RequestOp => ({
        kind: "range",
        range: RangeRequestCodec.create({
          key: bytesFromLatin1(key),
          rangeEnd: bytesFromLatin1(rangeEnd),
          revision,
        }),
      })),
    fc
      .record({
        key: name,
        value: fc.constantFrom("x", "y"),
        lease: fc.constantFrom(0n, 0n, 0n, 1n, 2n),
        prevKV: fc.boolean(),
        ignore: fc.constantFrom("", "", "", "value", "lease"),
      })
      .map(({ key, value, lease, prevKV, ignore }): RequestOp => ({
        kind: "put",
        put: PutRequestCodec.create({
          key: bytesFromLatin1(key),
          value: ignore === "value" ? new Uint8Array(0) : bytesFromLatin1(value),
          lease: ignore === "lease" ? 0n : lease,
          prevKV,
          ignoreValue: ignore === "value",
          ignoreLease: ignore === "lease",
        }),
      })),
    fc.record({ key: name, rangeEnd: end }).map(({ key, rangeEnd }): RequestOp => ({
      kind: "deleteRange",
      deleteRange: DeleteRangeRequestCodec.create({
        key: bytesFromLatin1(key),
        rangeEnd: bytesFromLatin1(rangeEnd),
      }),
    })),
    tie("txn").map((txn): RequestOp => ({ kind: "txn", txn })),
  ),
  txn: fc.record({
    compare: fc.array(compare, { maxLength: 2 }),
    success: fc.array(tie("op"), { maxLength: 3 }),
    failure: fc.array(tie("op"), { maxLength: 3 }),
  }),
}));

/** A put of a key that was deleted before in the transaction and is not to keep its value. */
function normalize(answer: string): string {
  return answer.replaceAll("put none", "put ");
}

test("executeTxn() does what the model does, or nothing", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(requests.txn, { minLength: 1, maxLength: 8 }), async (txns) => {
      const store = await openStore();
      const model = new Model();
      for (const request of txns) {
        const expected = model.run(request);
        let found: string | undefined;
        try {
          const response = executeTxn(store, LEASES, request);
          found = `${show(response)} @${response.header?.revision}`;
        } catch (error) {
          const { futureRevision, keyNotFound, leaseNotFound } = SERVER_ERRORS;
          expect([futureRevision, keyNotFound, leaseNotFound]).toContain(error);
        }
        expect(found).toBe(expected === undefined ? undefined : normalize(expected));
        expect(store.currentRevision).toBe(model.revision);
        const contents = store.range(bytesFromLatin1("\0"), bytesFromLatin1("\0"), {
          revision: 0,
          limit: 0,
          countOnly: false,
        });
        expect(
          contents.kvs.map((kv) => [latin1FromBytes(kv.key), latin1FromBytes(kv.value), kv.lease]),
        ).toEqual(model.inRange("\0", "\0").map(([key, { value, lease }]) => [key, value, lease]));
      }
      await store.close();
    }),
    { numRuns: 150 },
  );
});

test("executeReadOnlyTxn() answers as executeTxn() does, and changes nothing", async () => {
  const store = await openStore();
  const put = { key: bytesFromLatin1("a"), value: bytesFromLatin1("x") };
  executeTxn(store, LEASES, {
    compare: [],
    success: [{ kind: "put", put: PutRequestCodec.create(put) }],
    failure: [],
  });
  await fc.assert(
    fc.asyncProperty(requests.txn, async (request) => {
      fc.pre(isReadOnlyTxn(request));
      const run = (answer: () => TxnResponse): string => {
        try {
          return show(answer());
        } catch (error) {
          return (error as Error).message;
        }
      };
      const expected = run(() => executeTxn(store, LEASES, request));
      expect(run(() => executeReadOnlyTxn(store, request))).toBe(expected);
      const sliced = await executeReadOnlyTxnSliced(store, request, new VirtualClock()).then(
        show,
        (error: Error) => error.message,
      );
      expect(sliced).toBe(expected);
      expect(store.currentRevision).toBe(2);
    }),
    { numRuns: 100 },
  );
});

test("executeTxn() refuses to keep the value of a key it has deleted before", async () => {
  const store = await openStore();
  const key = bytesFromLatin1("a");
  const put = (fields: Partial<PutRequest>): RequestOp => ({
    kind: "put",
    put: PutRequestCodec.create({ key, ...fields }),
  });
  executeTxn(store, LEASES, { compare: [], success: [put({ value: key })], failure: [] });
  // "All keys from here" is what the duplicate check lets through.
  const deletion = DeleteRangeRequestCodec.create({ key, rangeEnd: bytesFromLatin1("\0") });
  const success: RequestOp[] = [
    { kind: "deleteRange", deleteRange: deletion },
    put({ ignoreValue: true }),
  ];
  expect(() => executeTxn(store, LEASES, { compare: [], success, failure: [] })).toThrow(
    SERVER_ERRORS.keyNotFound,
  );
  expect(store.currentRevision).toBe(2);
});
