/**
 * What the Go side of this suite asks of our database:
 *
 *   dump FILE                                      checks it and prints a digest of its contents
 *   change FILE SEED PAGE_BYTES NO_FREELIST_SYNC   makes random changes, then as `dump`
 */

import { createHash, type Hash } from "node:crypto";
import { SeededRandom, randomBelow, utf8FromString } from "@etcd-ts/base";
import { type Bucket, Database, type Transaction, check } from "@etcd-ts/bbolt";
import { NodeClock, NodeDisk } from "@etcd-ts/runtime";

const COMMITS = 12;

function digest(from: Bucket | Transaction, hash: Hash): void {
  const cursor = from.cursor();
  for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
    const key = Buffer.from(entry.key).toString("hex");
    if (entry.value !== undefined) {
      hash.update(`${key}=${Buffer.from(entry.value).toString("hex")}\n`);
      continue;
    }
    const nested = from.bucket(entry.key)!;
    hash.update(`${key} ${nested.sequence()} {\n`);
    digest(nested, hash);
    hash.update("}\n");
  }
}

function dump(db: Database): string {
  const tx = db.beginRead();
  const faults = [...check(tx)];
  if (faults.length > 0) throw new Error(faults.join("\n"));
  const hash = createHash("sha256");
  digest(tx, hash);
  return hash.digest("hex");
}

function changeBucket(bucket: Bucket, random: SeededRandom, depth: number): void {
  bucket.fillPercent = [0.1, 0.5, 0.9, 1][randomBelow(random, 4)]!;
  const keys = randomBelow(random, randomBelow(random, 6) === 0 ? 3000 : 150);
  const inOrder = randomBelow(random, 2) === 0;
  const deletes = randomBelow(random, 3);
  const start = randomBelow(random, 4000);
  for (let i = 0; i < keys; i++) {
    const n = inOrder ? start + i : randomBelow(random, 4000);
    const key = utf8FromString(`key-${n}`.padStart(4 + (n % 40), "-"));
    const bytes = randomBelow(random, randomBelow(random, 60) === 0 ? 100_000 : 200);
    if (randomBelow(random, 3) < deletes) bucket.delete(key);
    else bucket.put(key, new Uint8Array(bytes).fill(n));
  }
  if (randomBelow(random, 3) === 0) bucket.setSequence(randomBelow(random, 1_000_000));
  if (depth === 0) return;
  const name = utf8FromString(`bucket-${randomBelow(random, 4)}`);
  if (randomBelow(random, 5) > 0) {
    changeBucket(bucket.createBucketIfNotExists(name), random, depth - 1);
  } else if (bucket.bucket(name) !== undefined) bucket.deleteBucket(name);
}

async function change(db: Database, seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  for (let i = 0; i < COMMITS; i++) {
    const tx = db.beginWrite();
    const name = utf8FromString(`top-${randomBelow(random, 3)}`);
    if (randomBelow(random, 10) === 0 && tx.bucket(name) !== undefined) tx.deleteBucket(name);
    else changeBucket(tx.createBucketIfNotExists(name), random, 2);
    await tx.commit();
  }
}

const [command, path, seed, pageBytes, noFreelistSync] = process.argv.slice(2);
const db = await Database.open(
  new NodeDisk(),
  path!,
  command === "dump"
    ? { readOnly: true }
    : {
        clock: new NodeClock(),
        noSync: true,
        cacheBytesMax: 1_000_000,
        pageBytes: Number(pageBytes),
        noFreelistSync: noFreelistSync === "true",
      },
);
if (command === "change") await change(db, Number(seed));
console.log(dump(db));
await db.close();
