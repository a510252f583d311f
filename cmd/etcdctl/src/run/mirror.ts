/** make-mirror: copies keys to another cluster, and goes on copying changes. */

import { RPC_ERRORS } from "@etcd-ts/api";
import type { Event, RequestOp } from "@etcd-ts/api";
import { bytesFromLatin1, latin1FromBytes, utf8FromString } from "@etcd-ts/base";
import { out } from "@etcd-ts/cli";
import { op, Syncer } from "@etcd-ts/client";
import type { Client } from "@etcd-ts/client";

import { readUser } from "../context.ts";
import type { Context } from "../context.ts";
import { badArguments, EXIT, ExitError } from "../exit.ts";

const REPORT_INTERVAL_MS = 30_000;

export async function makeMirror(context: Context): Promise<void> {
  const [destination] = context.args;
  if (destination === undefined || context.args.length !== 1) {
    throw badArguments("make-mirror takes one destination argument");
  }
  const { flags } = context;
  const user = await readUser(
    flags.string("dest-user"),
    flags.string("dest-password"),
    "Destination Password: ",
  );
  const target = await context.clientOf([destination], {
    insecureTransport: flags.bool("dest-insecure-transport"),
    skipVerify: false,
    certPath: flags.string("dest-cert"),
    keyPath: flags.string("dest-key"),
    caPath: flags.string("dest-cacert"),
    serverName: "",
    ...user,
  });
  const source = await context.client();
  if (flags.bool("no-dest-prefix") && flags.string("dest-prefix") !== "") {
    throw badArguments(
      "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
    );
  }
  const mirror = new Mirror(target, context);
  const report = setInterval(() => out(`${mirror.total}\n`), REPORT_INTERVAL_MS);
  try {
    await mirror.run(source);
  } finally {
    clearInterval(report);
  }
  throw new ExitError(EXIT.error, "the watch on the source has ended");
}

class Mirror {
  /** Keys copied and changes repeated. */
  total = 0;
  readonly #target: Client;
  readonly #prefix: string;
  readonly #targetPrefix: string;
  readonly #startRevision: number;
  readonly #opsMax: number;

  constructor(target: Client, context: Context) {
    const { flags } = context;
    this.#target = target;
    // Prefixes are compared with keys byte by byte, so they are held as latin-1.
    this.#prefix = latin1FromBytes(utf8FromString(flags.string("prefix")));
    const given = latin1FromBytes(utf8FromString(flags.string("dest-prefix")));
    this.#targetPrefix = given !== "" || flags.bool("no-dest-prefix") ? given : this.#prefix;
    this.#startRevision = Math.max(0, flags.number("rev") - 1);
    this.#opsMax = flags.number("max-txn-ops");
  }

  async run(source: Client): Promise<void> {
    const syncer = new Syncer(source, bytesFromLatin1(this.#prefix), this.#startRevision);
    if (this.#startRevision === 0) {
      for await (const kvs of syncer.base()) {
        for (const { key, value } of kvs) {
          await this.#target.kv.put(this.#renamed(key), value);
          this.total++;
        }
      }
    }
    for await (const response of syncer.updates()) {
      if (response.compactRevision !== 0) throw RPC_ERRORS.compacted;
      await this.#repeat(response.events);
    }
  }

  /** Repeats events, those of one revision in one transaction as far as its limit allows. */
  async #repeat(events: readonly Event[]): Promise<void> {
    let operations: RequestOp[] = [];
    let revision = 0;
    const commit = async (): Promise<void> => {
      if (operations.length > 0)
        await this.#target.kv
          .txn()
          .do(...operations)
          .commit();
      operations = [];
    };
    for (const { type, kv } of events) {
      if (kv === undefined) continue;
      if (kv.modRevision > revision || operations.length >= this.#opsMax) await commit();
      revision = kv.modRevision;
      const key = this.#renamed(kv.key);
      operations.push(type === 0 ? op.put(key, kv.value) : op.delete(key));
      this.total++;
    }
    await commit();
  }

  #renamed(key: Uint8Array): Uint8Array {
    if (this.#prefix === this.#targetPrefix) return key;
    const text = latin1FromBytes(key);
    return bytesFromLatin1(this.#targetPrefix + text.slice(this.#prefix.length));
  }
}
