/**
 * A user who logs in with a password and may read and write `p0` alone, through all that happens to
 * members, passwords and tokens. She tries wrong and past passwords, and tokens that were taken
 * from her with a change of her password.
 */

import { EtcdError, bytesFromLatin1, sleep } from "@etcd-ts/base";
import type { SeededRandom } from "@etcd-ts/base";
import { PutRequestCodec, RangeRequestCodec, SERVER_ERRORS } from "@etcd-ts/api";
import type { PutResponse, RangeResponse } from "@etcd-ts/api";
import type { AuthTokenResponse, RequestContext } from "@etcd-ts/etcdserver";

import { TOKEN_TTL_MS } from "./auth-ports.ts";
import type { AuthOperator } from "./auth-operator.ts";
import type { AuthCheck } from "./checkers/auth-check.ts";
import type { Call, SimCluster } from "./cluster.ts";
import type { SimMember } from "./member.ts";
import { around, pick } from "./options.ts";
import { ViolationError } from "./violation.ts";
import type { Workload } from "./workload.ts";
import { rangeText } from "./workload.ts";

const CALL_TIMEOUT_MS = 8000;
const KEY = "p0";
/** Times of its own, for the longest a clock may be off. */
const EXPIRED_MS = TOKEN_TTL_MS * 1.2;

export class PasswordUser {
  readonly #cluster: SimCluster;
  readonly #workload: Workload;
  readonly #operator: AuthOperator;
  readonly #check: AuthCheck;
  readonly #random: SeededRandom;
  #token: { readonly text: string; readonly password: string } | undefined;
  /** Got with passwords that were changed. */
  readonly #pastTokens: string[] = [];
  #serial = 0;

  constructor(cluster: SimCluster, workload: Workload, operator: AuthOperator, check: AuthCheck) {
    this.#cluster = cluster;
    this.#workload = workload;
    this.#operator = operator;
    this.#check = check;
    this.#random = cluster.random.split("password user");
  }

  async run(isOver: () => boolean): Promise<void> {
    const { clock, options } = this.#cluster;
    while (!isOver()) {
      await sleep(clock, around(this.#random, options.thinkMs));
      const member = this.#cluster.someVoter(this.#random);
      if (member === undefined || !this.#operator.era.isEnforced) continue;
      if (
        this.#token !== undefined &&
        this.#operator.pastPasswords.includes(this.#token.password)
      ) {
        this.#pastTokens.push(this.#token.text);
        this.#token = undefined;
      }
      const chance = this.#random.float();
      const past = this.#pastTokens.at(-1);
      if (chance < 0.1) await this.#guess(member);
      else if (chance < 0.2 && past !== undefined) await this.#trespass(member, past, KEY);
      else if (this.#token === undefined) await this.#logIn(member);
      else if (chance < 0.35) await this.#trespass(member, this.#token.text, "k1");
      else await this.#use(member, this.#token.text);
    }
  }

  async #authenticate(member: SimMember, password: string): Promise<string | EtcdError> {
    try {
      const { token } = await this.#cluster.call<AuthTokenResponse>(
        member,
        CALL_TIMEOUT_MS,
        (server, _context, done) => server.authenticate({ name: "pat", password }, done),
      );
      return token;
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      return error;
    }
  }

  /** The right password is taken, unless it changed meanwhile or the call had no answer. */
  async #logIn(member: SimMember): Promise<void> {
    const { password, era } = this.#operator;
    if (password === undefined) return;
    const outcome = await this.#authenticate(member, password);
    if (typeof outcome === "string") {
      this.#token = { text: outcome, password };
      this.#cluster.trace.count("logins");
      return;
    }
    const isSteady = this.#operator.era === era && this.#operator.password === password;
    if (isSteady && outcome === SERVER_ERRORS.authFailed) {
      this.#broken(`${member.name} refused the right password`);
    }
  }

  async #guess(member: SimMember): Promise<void> {
    const past = this.#operator.pastPasswords;
    const password = past.length > 0 && this.#random.float() < 0.5 ? pick(this.#random, past) : "x";
    const tried = this.#cluster.options.plant === "any password" ? "pw0" : password;
    const outcome = await this.#authenticate(member, tried);
    if (typeof outcome === "string") this.#broken(`${member.name} took a wrong password`);
    else if (outcome === SERVER_ERRORS.authFailed) this.#cluster.trace.count("logins refused");
  }

  #broken(text: string): void {
    this.#cluster.broken(new ViolationError("auth", text));
  }

  /** Writes what this token gives no right to. */
  async #trespass(member: SimMember, token: string, key: string): Promise<void> {
    const { era } = this.#operator;
    const value = this.#value();
    const callMs = this.#cluster.clock.monotonicMs();
    this.#check.attempted(value);
    let outcome: Error | undefined;
    try {
      await this.#cluster.call<PutResponse>(member, CALL_TIMEOUT_MS, putting(key, value, token));
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      outcome = error;
    }
    const name = `a token that may not, putting ${key} at ${member.name}`;
    if (outcome !== undefined && REFUSALS.has(outcome)) this.#cluster.trace.count("tokens refused");
    else this.#workload.mayHappen(name, callMs, { key, value, lease: 0n });
    if (this.#operator.era !== era) {
      this.#check.forget(value);
      return;
    }
    this.#cluster.guard(() => this.#check.ended(name, outcome));
  }

  async #use(member: SimMember, token: string): Promise<void> {
    const noting = async <T>(start: Call<T>): Promise<T> => {
      try {
        return await this.#cluster.call<T>(member, CALL_TIMEOUT_MS, start);
      } catch (error) {
        if (REFUSALS.has(error as Error) && this.#token?.text === token) this.#token = undefined;
        throw error;
      }
    };
    if (this.#random.float() < 0.5) {
      const value = this.#value();
      const writes = [{ key: KEY, value, lease: 0n }];
      await this.#workload.record<PutResponse>(
        "pat",
        { kind: "write", condition: undefined, writes },
        () => noting(putting(KEY, value, token)),
        ({ header }) => ({ revision: header!.revision, isChange: true }),
      );
      return;
    }
    await this.#workload.record<RangeResponse>(
      "pat",
      { kind: "read", key: KEY },
      () => noting(reading(token)),
      ({ header, kvs }) => ({
        revision: header!.revision,
        isChange: false,
        read: rangeText(kvs),
      }),
    );
  }

  #value(): string {
    return `p${++this.#serial}`;
  }

  /**
   * In a cluster at rest where users count: every member takes her password and knows the token all
   * others gave, until it has not been used for long enough.
   */
  async judge(
    members: readonly SimMember[],
    carry: <T>(call: Promise<T>) => Promise<T>,
    pass: (ms: number) => Promise<void>,
  ): Promise<void> {
    const { password } = this.#operator;
    // Changed by a call that had no answer by the end.
    if (password === undefined) return;
    const tokens: string[] = [];
    for (const member of members) {
      const outcome = await carry(this.#authenticate(member, password));
      if (typeof outcome !== "string") throw outcome;
      tokens.push(outcome);
    }
    const ask = (member: SimMember, token: string): Promise<Error | undefined> =>
      carry(
        this.#cluster.call<RangeResponse>(member, CALL_TIMEOUT_MS, reading(token)).then(
          () => undefined,
          (error: Error) => error,
        ),
      );
    for (const member of members) {
      for (const token of tokens) {
        const refusal = await ask(member, token);
        if (refusal !== undefined) throw refusal;
      }
    }
    await pass(EXPIRED_MS);
    for (const member of members) {
      for (const token of tokens) {
        if ((await ask(member, token)) === SERVER_ERRORS.invalidAuthToken) continue;
        throw new ViolationError("auth", `${member.name} takes a token whose time is over`);
      }
    }
    this.#cluster.trace.count("tokens that ran out", tokens.length);
  }
}

const REFUSALS: ReadonlySet<Error> = new Set<Error>([
  SERVER_ERRORS.invalidAuthToken,
  SERVER_ERRORS.authOldRevision,
  SERVER_ERRORS.permissionDenied,
]);

function contextOf(token: string): RequestContext {
  return { auth: { kind: "token", token }, deadlineMs: undefined };
}

function putting(key: string, value: string, token: string): Call<PutResponse> {
  const request = PutRequestCodec.create({
    key: bytesFromLatin1(key),
    value: bytesFromLatin1(value),
  });
  return (server, _context, done) => server.put(request, contextOf(token), done);
}

function reading(token: string): Call<RangeResponse> {
  const request = RangeRequestCodec.create({ key: bytesFromLatin1(KEY) });
  return (server, _context, done) => server.range(request, contextOf(token), done);
}
