/** The checks of a database file: its pages, and all that etcd keeps in it. */

import {
  decodeMessage,
  hexFromBytes,
  hexFromID,
  latin1FromBytes,
  stringFromUtf8,
} from "@etcd-ts/base";
import type { Codec } from "@etcd-ts/base";
import {
  AlarmMemberCodec,
  LeaseRecordCodec,
  RoleSchema,
  SERVER_VERSION,
  UserSchema,
  generatedCodec,
  parseVersion,
} from "@etcd-ts/api";
import type { Database, ReadTransaction } from "@etcd-ts/bbolt";
import { decodeConfState, decodeMember } from "@etcd-ts/storage";
import type { MemberRecord } from "@etcd-ts/storage";
import type { DataDirectoryContext } from "./context.ts";
import { bytesFromName, CONF_STATE, CONSISTENT_INDEX, META, TERM, metaCounter } from "./records.ts";
import { pageProblems } from "./status.ts";
import { storageVersionOf } from "./migrate.ts";
import { HistoryCheck } from "./verify-history.ts";
import { runCheck } from "./verify-report.ts";
import type { Check, CheckResult } from "./verify-report.ts";

/** What the checks of the log need to know of the database. */
export interface DatabaseFacts {
  readonly consistentIndex: number;
  readonly memberIDs: ReadonlySet<bigint>;
  readonly removedIDs: ReadonlySet<bigint>;
}

const KNOWN_BUCKETS: ReadonlySet<string> = new Set([
  "alarm",
  "auth",
  "authRoles",
  "authUsers",
  "cluster",
  "key",
  "lease",
  "members",
  "members_removed",
  "meta",
]);
const NEEDED_BUCKETS = ["key", "meta"];

const UserCodec = generatedCodec(UserSchema);
const RoleCodec = generatedCodec(RoleSchema);

export class DatabaseChecks {
  readonly #context: DataDirectoryContext;
  readonly #database: Database;
  readonly #reader: ReadTransaction;
  readonly #results: CheckResult[] = [];
  #consistentIndex = 0;
  readonly #memberIDs = new Set<bigint>();
  readonly #removedIDs = new Set<bigint>();

  constructor(context: DataDirectoryContext, database: Database) {
    this.#context = context;
    this.#database = database;
    this.#reader = database.beginRead();
  }

  get facts(): DatabaseFacts {
    return {
      consistentIndex: this.#consistentIndex,
      memberIDs: this.#memberIDs,
      removedIDs: this.#removedIDs,
    };
  }

  async run(): Promise<readonly CheckResult[]> {
    await this.#add("pages", (check) => this.#checkPages(check));
    await this.#add("buckets", (check) => this.#checkBuckets(check));
    await this.#add("meta", (check) => this.#checkMeta(check));
    let keysOfLeases: ReadonlyMap<bigint, number> = new Map();
    await this.#add("revisions", async (check) => {
      const history = new HistoryCheck(this.#context, this.#path, this.#reader, check);
      const summary = await history.run();
      keysOfLeases = history.leases();
      return summary;
    });
    await this.#add("leases", (check) => this.#checkLeases(check, keysOfLeases));
    await this.#add("members", (check) => this.#checkMembers(check));
    await this.#add("auth", (check) => this.#checkAuth(check));
    await this.#add("alarms", (check) => this.#checkAlarms(check));
    return this.#results;
  }

  get #path(): string {
    return this.#database.path;
  }

  async #add(name: string, run: (check: Check) => Promise<string> | string): Promise<void> {
    this.#context.onProgress?.({ step: name, done: 0, total: 0 });
    this.#results.push(await runCheck(name, run));
  }

  async #checkPages(check: Check): Promise<string> {
    for (const text of this.#database.metaProblems()) check.error(text);
    const { count, texts } = await pageProblems(this.#context, this.#database, this.#reader, 20);
    for (const text of texts) check.error(text);
    check.addUnnamed(count - texts.length);
    const { pageBytes } = this.#database;
    const pages = this.#reader.sizeBytes / pageBytes;
    return `${pages} pages of ${pageBytes} bytes`;
  }

  #checkBuckets(check: Check): string {
    const names = this.#reader.bucketNames().map((name) => latin1FromBytes(name));
    for (const name of NEEDED_BUCKETS) {
      if (!names.includes(name)) check.error(`there is no bucket ${name}: is it a file of etcd?`);
    }
    for (const name of names) {
      if (!KNOWN_BUCKETS.has(name)) check.warn(`bucket ${JSON.stringify(name)} is not etcd's`);
    }
    return names.join(" ");
  }

  #checkMeta(check: Check): string {
    this.#consistentIndex = metaCounter(this.#reader, CONSISTENT_INDEX, this.#path);
    const term = metaCounter(this.#reader, TERM, this.#path);
    const confState = this.#reader.bucket(META)?.get(CONF_STATE);
    if (confState !== undefined && decodeConfState(stringFromUtf8(confState)) === undefined) {
      check.error("confState cannot be read");
    }
    let version = "unknown";
    if (term === 0)
      check.warn("no term is kept: the file is of etcd before 3.5, or was never used");
    else version = this.#storageVersion(check);
    return `consistent index ${this.#consistentIndex}, term ${term}, storage version ${version}`;
  }

  #storageVersion(check: Check): string {
    const { major, minor } = storageVersionOf(this.#reader, this.#path);
    const own = parseVersion(SERVER_VERSION)!;
    if (major !== own.major || minor > own.minor) {
      check.warn(`storage version ${major}.${minor} is newer than this program, ${SERVER_VERSION}`);
    }
    return `${major}.${minor}`;
  }

  #checkLeases(check: Check, keysOfLeases: ReadonlyMap<bigint, number>): string {
    const known = new Set<bigint>();
    this.#each("lease", LeaseRecordCodec, check, (lease, key) => {
      known.add(BigInt.asIntN(64, lease.id));
      if (BigInt.asUintN(64, lease.id) !== idOf(key)) {
        check.error(`lease ${hexFromID(lease.id)} is kept under ${hexFromBytes(key)}`);
      }
      if (lease.ttl < 1) check.error(`lease ${hexFromID(lease.id)} has a TTL of ${lease.ttl}`);
    });
    let attached = 0;
    for (const [id, keys] of keysOfLeases) {
      attached += keys;
      if (known.has(BigInt.asIntN(64, id))) continue;
      check.warn(`${keys} keys have lease ${hexFromID(id)}, which does not exist`);
    }
    return `${known.size} leases, ${attached} keys attached`;
  }

  #checkMembers(check: Check): string {
    this.#eachEntry("members_removed", (key) => {
      const id = idFromText(key);
      if (id === undefined) check.error(`removed member ${hexFromBytes(key)} is no id`);
      else this.#removedIDs.add(id);
    });
    const members: MemberRecord[] = [];
    this.#eachEntry("members", (key, value) => {
      const member = decodeMember(stringFromUtf8(value));
      if (member === undefined) check.error(`member ${latin1FromBytes(key)} cannot be read`);
      else members.push(member);
      if (member === undefined) return;
      const id = hexFromID(member.id);
      this.#memberIDs.add(BigInt.asUintN(64, member.id));
      if (latin1FromBytes(key) !== id)
        check.error(`member ${id} is kept under ${hexFromBytes(key)}`);
      if (member.peerURLs.length === 0) check.error(`member ${id} has no peer URLs`);
      if (this.#removedIDs.has(BigInt.asUintN(64, member.id))) {
        check.error(`member ${id} is also among the removed ones`);
      }
    });
    const version = this.#reader
      .bucket(bytesFromName("cluster"))
      ?.get(bytesFromName("clusterVersion"));
    const text = version === undefined ? "none" : latin1FromBytes(version);
    if (version !== undefined && parseVersion(text) === undefined) {
      check.error(`cluster version ${JSON.stringify(text)} is none`);
    }
    const learners = members.filter(({ isLearner }) => isLearner).length;
    return `${members.length} members, ${learners} of them learners, ${this.#removedIDs.size} removed, cluster version ${text}`;
  }

  #checkAuth(check: Check): string {
    const roles = new Set<string>();
    const granted = new Set<string>();
    let users = 0;
    this.#each("authUsers", UserCodec, check, (user, key) => {
      users++;
      for (const role of user.roles) granted.add(role);
      if (stringFromUtf8(user.name) !== stringFromUtf8(key)) {
        check.error(`a user is kept under another's name: ${JSON.stringify(stringFromUtf8(key))}`);
      }
    });
    this.#each("authRoles", RoleCodec, check, (role, key) => {
      roles.add(stringFromUtf8(role.name));
      if (stringFromUtf8(role.name) !== stringFromUtf8(key)) {
        check.error(`a role is kept under another's name: ${JSON.stringify(stringFromUtf8(key))}`);
      }
    });
    for (const role of granted) {
      if (!roles.has(role))
        check.warn(`a user has role ${JSON.stringify(role)}, which does not exist`);
    }
    const auth = this.#reader.bucket(bytesFromName("auth"));
    const enabled = auth?.get(bytesFromName("authEnabled"));
    if (enabled !== undefined && (enabled.length !== 1 || enabled[0]! > 1)) {
      check.error("authEnabled is neither on nor off");
    }
    const revision = auth?.get(bytesFromName("authRevision"));
    if (revision !== undefined && revision.length !== 8) {
      check.error("authRevision is no 64-bit counter");
    }
    const state = enabled?.[0] === 1 ? "on" : "off";
    return `${state}, ${users} users, ${roles.size} roles`;
  }

  #checkAlarms(check: Check): string {
    let alarms = 0;
    this.#eachEntry("alarm", (key) => {
      alarms++;
      if (decoded(AlarmMemberCodec, key) === undefined) {
        check.error(`alarm ${hexFromBytes(key)} cannot be read`);
      }
    });
    if (alarms > 0) check.warn("alarms are raised: `etcdctl alarm list` shows which");
    return `${alarms} raised`;
  }

  #each<T>(
    bucket: string,
    codec: Codec<T>,
    check: Check,
    visit: (message: T, key: Uint8Array) => void,
  ): void {
    this.#eachEntry(bucket, (key, value) => {
      const message = decoded(codec, value);
      if (message === undefined) check.error(`${bucket} ${hexFromBytes(key)} cannot be read`);
      else visit(message, key);
    });
  }

  #eachEntry(name: string, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    const cursor = this.#reader.bucket(bytesFromName(name))?.cursor();
    for (let entry = cursor?.first(); entry !== undefined; entry = cursor?.next()) {
      visit(entry.key, entry.value ?? new Uint8Array(0));
    }
  }
}

function decoded<T>(codec: Codec<T>, bytes: Uint8Array): T | undefined {
  try {
    return decodeMessage(codec, bytes);
  } catch {
    return undefined;
  }
}

/** Undefined unless `bytes` are a number of 8. */
function idOf(bytes: Uint8Array): bigint | undefined {
  return bytes.length === 8 ? BigInt(`0x${hexFromBytes(bytes)}`) : undefined;
}

function idFromText(bytes: Uint8Array): bigint | undefined {
  const text = latin1FromBytes(bytes);
  return /^[0-9a-f]{1,16}$/.test(text) ? BigInt(`0x${text}`) : undefined;
}
