/**
 * Who a caller is, and whether it may go on: the one way from what a call claims to an identity.
 *
 * A token may be newer than this member's state, and a signature may take longer than a turn, so
 * the answer may come later; where nothing has to be waited for it comes at once.
 */

import type { Clock, EtcdError, Logger } from "@etcd-ts/base";
import { hexFromBytes, sha256, utf8FromString } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";

import type { AuthClaim, AuthIdentity, Completion, RequestContext } from "../server-api.ts";
import { Waiters } from "../waiters.ts";
import { ROOT_USER } from "./auth-store.ts";
import type { AuthStore } from "./auth-store.ts";
import { indexOfToken } from "./simple-tokens.ts";

/** Calls that wait for the entry their token was made by; more are turned away. */
export const TOKEN_WAITERS_MAX = 4096;

export interface AuthGateParts {
  readonly auth: AuthStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly timeoutMs: number;
  readonly appliedIndex: () => number;
  readonly end: () => EtcdError | undefined;
}

export type Identified = (error: EtcdError | undefined, identity: AuthIdentity | undefined) => void;

export class AuthGate {
  readonly #parts: AuthGateParts;
  /** Calls whose token is newer than what has been applied. */
  readonly #waiters = new Waiters();

  constructor(parts: AuthGateParts) {
    this.#parts = parts;
  }

  /** Tells who the caller is, maybe at once; undefined for nobody, or while nobody asks. */
  identify(claim: AuthClaim | undefined, done: Identified): void {
    const { auth } = this.#parts;
    if (claim === undefined) {
      done(undefined, undefined);
      return;
    }
    switch (claim.kind) {
      case "certificate":
        done(undefined, { username: claim.commonName, authRevision: auth.revision });
        return;
      case "member":
        done(
          undefined,
          auth.isEnabled ? { username: ROOT_USER, authRevision: auth.revision } : undefined,
        );
        return;
      default:
        if (auth.isEnabled) this.#identifyToken(claim.token, done);
        else done(undefined, undefined);
    }
  }

  /** Runs `run` for whoever it is; an invalid token is refused. */
  whenIdentified<T>(
    context: RequestContext,
    done: Completion<T>,
    run: (identity: AuthIdentity | undefined) => void,
  ): void {
    // Most calls claim nothing, and each write comes by here.
    if (context.auth === undefined) {
      run(undefined);
      return;
    }
    let isLater = false;
    this.identify(context.auth, (error, identity) => {
      if (error === undefined) run(identity);
      else if (isLater) done(error, undefined);
      else this.#parts.clock.nextTurn(() => done(error, undefined));
    });
    isLater = true;
  }

  /** Runs `run` for any user, or while authentication is off. */
  whenUser<T>(
    context: RequestContext,
    done: Completion<T>,
    run: (identity: AuthIdentity | undefined) => void,
  ): void {
    this.whenIdentified(context, done, (identity) => {
      const isNobody = this.#parts.auth.isEnabled && identity === undefined;
      if (isNobody) this.#refuse(done, SERVER_ERRORS.userEmpty);
      else run(identity);
    });
  }

  /** Runs `run` for root, or while authentication is off. */
  whenAdmin<T>(context: RequestContext, done: Completion<T>, run: () => void): void {
    this.whenIdentified(context, done, (identity) => {
      const refusal = this.#parts.auth.adminRefusal(identity);
      if (refusal === undefined) run();
      else this.#refuse(done, refusal);
    });
  }

  applied(index: number): void {
    this.#waiters.reached(index);
  }

  tick(nowMs: number): void {
    this.#waiters.expire(nowMs, SERVER_ERRORS.invalidAuthToken);
  }

  stop(error: EtcdError): void {
    this.#waiters.failAll(error);
  }

  #refuse<T>(done: Completion<T>, error: EtcdError): void {
    this.#parts.clock.nextTurn(() => done(error, undefined));
  }

  #identifyToken(token: string, done: Identified): void {
    const { tokens } = this.#parts.auth.ports;
    switch (tokens.kind) {
      case "simple":
        this.#identifySimple(token, done);
        return;
      case "jwt": {
        const known = tokens.signer.known(token);
        const answer = (claims: typeof known): void => {
          if (claims === undefined) this.#refuseToken(token, done);
          else done(undefined, { username: claims.username, authRevision: claims.revision });
        };
        if (known === undefined) void tokens.signer.verify(token).then(answer);
        else answer(known);
        return;
      }
      default:
        this.#refuseToken(token, done);
    }
  }

  /** A token of an entry that has not been applied yet may become known with it. */
  #identifySimple(token: string, done: Identified): void {
    const { auth, appliedIndex, clock, timeoutMs, end } = this.#parts;
    const lookUp = (): void => {
      const username = auth.userOfToken(token);
      if (username === undefined) this.#refuseToken(token, done);
      else done(undefined, { username, authRevision: auth.revision });
    };
    const index = indexOfToken(token);
    if (index === undefined) this.#refuseToken(token, done);
    else if (index <= appliedIndex() || end() !== undefined) lookUp();
    else if (this.#waiters.size >= TOKEN_WAITERS_MAX)
      done(SERVER_ERRORS.tooManyRequests, undefined);
    else {
      this.#waiters.add(index, clock.monotonicMs() + timeoutMs, (error) => {
        if (error === undefined) lookUp();
        else if (error === SERVER_ERRORS.invalidAuthToken) this.#refuseToken(token, done);
        else done(error, undefined);
      });
    }
  }

  #refuseToken(token: string, done: Identified): void {
    this.#parts.logger.warn("invalid auth token", { "token-fingerprint": fingerprint(token) });
    done(SERVER_ERRORS.invalidAuthToken, undefined);
  }
}

/** Tells tokens apart in a log without telling them. */
function fingerprint(token: string): string {
  return hexFromBytes(sha256(utf8FromString(token)).subarray(0, 6));
}
