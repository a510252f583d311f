/**
 * Calls of the Auth service that are more than a proposal: passwords become hashes before they
 * reach the log, and a login is checked here and then made known to all members.
 */

import { EtcdError } from "@etcd-ts/base";
import type { ResponseHeader } from "@etcd-ts/api";
import { SERVER_ERRORS } from "@etcd-ts/api";

import type { MemberCore } from "../member-core.ts";
import { INTERNAL_CONTEXT } from "../server-api.ts";
import type {
  AuthCallOperation,
  AuthIdentity,
  AuthResponse,
  AuthTokenResponse,
  Completion,
  RequestContext,
  WatchPermit,
} from "../server-api.ts";
import { hasNoPassword } from "./auth-store.ts";
import { base64FromBytes } from "./base64.ts";
import type { PasswordHasher } from "./ports.ts";
import { newTokenPrefix } from "./simple-tokens.ts";

interface Credentials {
  readonly name: string;
  readonly password: string;
}

/** This member was built without what passwords need. */
export class PasswordsUnavailableError extends EtcdError {
  readonly code = "PASSWORDS_UNAVAILABLE";
}

export class AuthOperations {
  readonly #core: MemberCore;

  constructor(core: MemberCore) {
    this.#core = core;
  }

  /**
   * Runs `propose` with the operation as it may be logged: a password in it is replaced by its
   * hash. Hashing is for those who may go on; it costs too much to be had for nothing.
   */
  hashed<T>(
    operation: AuthCallOperation,
    context: RequestContext,
    done: Completion<T>,
    propose: (operation: AuthCallOperation) => void,
  ): void {
    const password = passwordIn(operation);
    if (password === undefined) {
      propose(operation);
      return;
    }
    this.#core.linearizableRead((error) => {
      if (error !== undefined) {
        done(error, undefined);
        return;
      }
      this.#core.gate.whenAdmin(context, done, () => {
        this.#settle(
          this.#passwords().then((passwords) => passwords.hash(password)),
          done,
          (hash) => propose(withHash(operation, hash)),
        );
      });
    });
  }

  /** A login; the password is looked at again if users changed while it was. */
  authenticate(credentials: Credentials, done: Completion<AuthTokenResponse>): void {
    this.#core.linearizableRead((error) => {
      if (error !== undefined) done(error, undefined);
      else this.#login(credentials, done);
    });
  }

  #login({ name, password }: Credentials, done: Completion<AuthTokenResponse>): void {
    const { auth, ports } = this.#core;
    const { revision } = auth;
    this.#checkPassword({ name, password }, (refusal) => {
      if (refusal !== undefined) {
        if (refusal !== SERVER_ERRORS.authNotEnabled) {
          const fields = { user: name, error: refusal.message };
          ports.logger.warn("invalid authentication was requested", fields);
        }
        done(refusal, undefined);
        return;
      }
      const isSimple = auth.ports.tokens.kind === "simple";
      const request = {
        $typeName: "etcdserverpb.InternalAuthenticateRequest" as const,
        name,
        password: "",
        simpleToken: isSimple ? newTokenPrefix(ports.random) : "",
      };
      const operation = { kind: "authenticate", request } as const;
      this.#core.propose(operation, INTERNAL_CONTEXT, (error, applied) => {
        if (error !== undefined) done(error, undefined);
        else if (auth.revision !== revision) {
          ports.logger.info("revision when password checked became stale; retrying");
          this.#login({ name, password }, done);
        } else this.#answerToken(name, revision, applied!.response as AuthResponse, done);
      });
    });
  }

  #answerToken(
    username: string,
    revision: number,
    { header, result }: AuthResponse,
    done: Completion<AuthTokenResponse>,
  ): void {
    const answer = (token: string): void => {
      done(undefined, { header: this.#header(header), token });
    };
    if (result.kind === "token" && result.token !== undefined) {
      answer(result.token);
      return;
    }
    const { tokens } = this.#core.auth.ports;
    if (tokens.kind !== "jwt") done(SERVER_ERRORS.authFailed, undefined);
    else this.#settle(tokens.signer.sign({ username, revision }), done, answer);
  }

  #header({ revision }: ResponseHeader): ResponseHeader {
    return this.#core.header(revision);
  }

  #checkPassword({ name, password }: Credentials, done: (refusal?: EtcdError) => void): void {
    const { auth, ports } = this.#core;
    if (!auth.isEnabled) {
      done(SERVER_ERRORS.authNotEnabled);
      return;
    }
    const user = auth.user(name);
    if (user === undefined || hasNoPassword(user)) {
      done(user === undefined ? SERVER_ERRORS.authFailed : SERVER_ERRORS.noPasswordUser);
      return;
    }
    const asked = this.#passwords().then((passwords) => passwords.matches(password, user.password));
    this.#settle<boolean, never>(
      asked,
      (error) => done(error),
      (isRight) => {
        if (!isRight) ports.logger.info("invalid password", { "user-name": name });
        done(isRight ? undefined : SERVER_ERRORS.authFailed);
      },
    );
  }

  /** Settles at once where nothing has to be waited for. */
  watchPermit(
    { key, rangeEnd }: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array },
    context: RequestContext,
    done: Completion<WatchPermit>,
  ): void {
    const { auth, gate } = this.#core;
    gate.identify(context.auth, (error, identity) => {
      const refusal = error ?? auth.rangeRefusal(identity, "read", key, rangeEnd);
      if (refusal !== undefined) done(refusal, undefined);
      else done(undefined, this.#permit(identity, key, rangeEnd));
    });
  }

  /** Who watches keeps its name; what it may do is asked again after each change. */
  #permit(identity: AuthIdentity | undefined, key: Uint8Array, rangeEnd: Uint8Array): WatchPermit {
    const { auth } = this.#core;
    let { revision: checkedRevision, isEnabled: wasEnabled } = auth;
    let refusal: EtcdError | undefined;
    return {
      refusal: () => {
        const { revision, isEnabled } = auth;
        if (revision === checkedRevision && isEnabled === wasEnabled) return refusal;
        checkedRevision = revision;
        wasEnabled = isEnabled;
        const now = identity && { username: identity.username, authRevision: revision };
        refusal = auth.rangeRefusal(now, "read", key, rangeEnd);
        return refusal;
      },
    };
  }

  async #passwords(): Promise<PasswordHasher> {
    const { passwords } = this.#core.auth.ports;
    if (passwords !== undefined) return passwords;
    throw new PasswordsUnavailableError("this member can neither set nor check passwords");
  }

  /** Goes on with the outcome of work elsewhere, unless the member has ended. */
  #settle<R, T>(work: Promise<R>, done: Completion<T>, next: (result: R) => void): void {
    work.then(
      (result) => {
        if (this.#core.end === undefined) next(result);
        else done(this.#core.end, undefined);
      },
      (error: unknown) => {
        if (error instanceof EtcdError) done(error, undefined);
        else this.#core.fail(error);
      },
    );
  }
}

/** A password that has to be hashed before the operation is logged. */
function passwordIn(operation: AuthCallOperation): string | undefined {
  switch (operation.kind) {
    case "authUserAdd":
      return operation.request.options?.noPassword === true
        ? undefined
        : operation.request.password;
    case "authUserChangePassword":
      return operation.request.password === "" ? undefined : operation.request.password;
    default:
      return undefined;
  }
}

function withHash(operation: AuthCallOperation, hash: Uint8Array): AuthCallOperation {
  const hashed = { password: "", hashedPassword: base64FromBytes(hash) };
  switch (operation.kind) {
    case "authUserAdd":
      return { ...operation, request: { ...operation.request, ...hashed } };
    case "authUserChangePassword":
      return { ...operation, request: { ...operation.request, ...hashed } };
    default:
      return operation;
  }
}
