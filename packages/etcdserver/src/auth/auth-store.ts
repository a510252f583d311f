/**
 * The seam for authentication.
 *
 * A member without it must never serve a store whose data is protected: `UnavailableAuthStore`
 * refuses to open over an enabled one, and refuses by name what it cannot do.
 */

import { EtcdError } from "@etcd-ts/base";
import { GRPC_CODES, RpcError, SERVER_ERRORS } from "@etcd-ts/api";
import type { RaftOperation } from "@etcd-ts/api";
import { readAuthEnabled, readAuthRevision } from "@etcd-ts/storage";
import type { Backend } from "@etcd-ts/storage";

import type { AuthIdentity } from "../server-api.ts";

/** Log operations that belong to the auth store. */
export type AuthOperation = Extract<RaftOperation, { readonly kind: `auth${string}` }>;

/** What the member asks of its auth store. */
export interface AuthStore {
  readonly isEnabled: boolean;
  readonly revision: number;
  /** Undefined if the caller may go on; told before a request is proposed or read locally. */
  checkIdentity(identity: AuthIdentity | undefined): EtcdError | undefined;
  /** Goes on with another backend, after a snapshot replaced the old one. */
  recover(backend: Backend): void;
  /** Carries out a committed operation. */
  apply(operation: AuthOperation): { readonly error: EtcdError | undefined };
}

/** The data is protected, and this member cannot protect it. */
export class AuthUnavailableError extends EtcdError {
  readonly code = "AUTH_UNAVAILABLE";
}

/** Answers as etcd does while authentication is disabled; refuses to manage users and roles. */
export class UnavailableAuthStore implements AuthStore {
  readonly isEnabled = false;
  #backend: Backend;

  /** @throws {AuthUnavailableError} if authentication is enabled in the backend */
  constructor(backend: Backend) {
    this.#backend = backend;
    this.recover(backend);
  }

  /** @throws {AuthUnavailableError} if authentication is enabled in the backend */
  recover(backend: Backend): void {
    if (readAuthEnabled(backend)) {
      throw new AuthUnavailableError(
        `authentication is enabled in ${backend.path}, and this build does not implement it`,
      );
    }
    this.#backend = backend;
  }

  get revision(): number {
    return readAuthRevision(this.#backend);
  }

  checkIdentity(): EtcdError | undefined {
    return undefined;
  }

  /** @throws {AuthUnavailableError} the entry was committed, so skipping it would be a lie */
  apply(operation: AuthOperation): { readonly error: EtcdError | undefined } {
    switch (operation.kind) {
      case "authDisable":
      case "authStatus":
      case "authUserGet":
      case "authUserList":
      case "authRoleGet":
      case "authRoleList":
        // Nothing changes, and nobody of this build waits for an answer.
        return { error: undefined };
      case "authenticate":
        return { error: SERVER_ERRORS.authNotEnabled };
      default:
        throw new AuthUnavailableError(
          `the log holds ${operation.kind}, which this build does not implement`,
        );
    }
  }
}

/** The answer to a call that is not built, named after its gRPC method. */
export function unimplementedAuthCall(method: string): RpcError {
  const text = `etcdserver: Auth.${method} is not implemented`;
  return new RpcError("UNIMPLEMENTED", GRPC_CODES.UNIMPLEMENTED, text);
}
