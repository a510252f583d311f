/**
 * Who keeps the users of a cluster: sets them up, takes a right back, changes a password now and
 * then, and turns authentication off and on again.
 *
 * What has no answer may still happen, as late as a member that was paused goes on. So nothing is
 * promised any more once a call to turn it off had none, and a password that was set by such a call
 * stays the last one.
 */

import { EtcdError, bytesFromLatin1, sleep } from "@etcd-ts/base";
import type { SeededRandom } from "@etcd-ts/base";
import { Permission_Type, SERVER_ERRORS } from "@etcd-ts/api";
import { ROOT_CONTEXT } from "@etcd-ts/etcdserver";
import type { AuthCallOperation, AuthResponse } from "@etcd-ts/etcdserver";

import type { AuthCheck } from "./checkers/auth-check.ts";
import type { SimCluster } from "./cluster.ts";
import type { SimMember } from "./member.ts";
import { around } from "./options.ts";

const CALL_TIMEOUT_MS = 8000;
const CHANGE_INTERVAL_MS = 12_000;
const OFF_MS = 3000;
const NO_BYTES = new Uint8Array(0);

/** Whether users count: within one era it does not change. */
export interface Era {
  readonly isEnforced: boolean;
}

export class AuthOperator {
  readonly #cluster: SimCluster;
  readonly #check: AuthCheck;
  readonly #random: SeededRandom;
  era: Era = { isEnforced: false };
  /** The guest may read `k1`; undefined while nobody knows. */
  mayReadK1: boolean | undefined = true;
  /** Of the user with a password; undefined while it changes. */
  password: string | undefined = "pw0";
  /** Passwords that were told to be changed. */
  readonly pastPasswords: string[] = [];
  #isPasswordUncertain = false;
  #isUncertain = false;

  constructor(cluster: SimCluster, check: AuthCheck) {
    this.#cluster = cluster;
    this.#check = check;
    this.#random = cluster.random.split("auth operator");
  }

  async run(isOver: () => boolean): Promise<void> {
    for (const operation of SETUP) await this.#until(operation, isOver);
    if (isOver()) return;
    this.era = { isEnforced: true };
    const { clock, options, trace } = this.#cluster;
    trace.count("clusters with users");
    const revokeAtMs = clock.monotonicMs() + options.faultMs * this.#random.float();
    while (!isOver()) {
      await sleep(clock, around(this.#random, CHANGE_INTERVAL_MS));
      if (isOver()) return;
      if (this.mayReadK1 === true && clock.monotonicMs() > revokeAtMs) {
        this.mayReadK1 = undefined;
        await this.#until(REVOKE_K1, isOver);
        if (!isOver()) this.mayReadK1 = false;
      } else if (this.#random.float() < 0.6) await this.#changePassword(isOver);
      else await this.#turnOffAndOn(isOver);
    }
  }

  /** In a cluster at rest: users count. */
  async settle(member: SimMember): Promise<boolean> {
    if (!this.era.isEnforced && !this.#isUncertain) return false;
    await this.#call(member, operationOf("authEnable", {}));
    this.era = { isEnforced: true };
    return true;
  }

  async #changePassword(isOver: () => boolean): Promise<void> {
    const before = this.password;
    if (before === undefined || this.#isPasswordUncertain) return;
    const next = `pw${this.pastPasswords.length + 1}`;
    this.password = undefined;
    const request = { name: "pat", password: next, hashedPassword: "" };
    const isCertain = await this.#until(operationOf("authUserChangePassword", request), isOver);
    if (isOver()) return;
    this.#isPasswordUncertain = !isCertain;
    this.pastPasswords.push(before);
    this.password = next;
    this.#cluster.trace.count("passwords changed");
  }

  async #turnOffAndOn(isOver: () => boolean): Promise<void> {
    if (this.#isUncertain) return;
    this.era = { isEnforced: false };
    this.#isUncertain = true;
    // What was refused, and what had no answer yet, may be taken now.
    this.#check.lifted();
    const isCertain = await this.#until(operationOf("authDisable", {}), isOver);
    if (isOver()) return;
    this.#cluster.trace.count("authentication turned off");
    await sleep(this.#cluster.clock, around(this.#random, OFF_MS));
    await this.#until(operationOf("authEnable", {}), isOver);
    if (isOver() || !isCertain) return;
    this.#isUncertain = false;
    this.era = { isEnforced: true };
  }

  /** Asks until it is so. @returns whether every call had an answer */
  async #until(operation: AuthCallOperation, isOver: () => boolean): Promise<boolean> {
    let isCertain = true;
    while (!isOver()) {
      await sleep(this.#cluster.clock, around(this.#random, 300));
      const member = this.#cluster.someVoter(this.#random);
      if (member === undefined) continue;
      try {
        await this.#call(member, operation);
        return isCertain;
      } catch (error) {
        if (ALREADY_SO.has(error as Error)) return isCertain;
        if (!(error instanceof EtcdError)) throw error;
        isCertain = false;
      }
    }
    return false;
  }

  #call(member: SimMember, operation: AuthCallOperation): Promise<AuthResponse> {
    return this.#cluster.call<AuthResponse>(
      member,
      CALL_TIMEOUT_MS,
      (server, context, done) => server.authCall(operation, context, done),
      ROOT_CONTEXT,
    );
  }
}

type Kind = AuthCallOperation["kind"];
type RequestOf<K extends Kind> = Extract<AuthCallOperation, { readonly kind: K }>["request"];

/** An operation without the name of its message. */
export function operationOf<K extends Kind>(
  kind: K,
  request: Omit<RequestOf<K>, "$typeName">,
): AuthCallOperation {
  const $typeName = `etcdserverpb.A${kind.slice(1)}Request`;
  return { kind, request: { $typeName, ...request } } as unknown as AuthCallOperation;
}

/** Without a password: comes with a certificate. */
export function userAdd(name: string): AuthCallOperation {
  const options = { $typeName: "authpb.UserAddOptions", noPassword: true } as const;
  return operationOf("authUserAdd", { name, password: "", hashedPassword: "", options });
}

function permit(role: string, key: string, permType: Permission_Type): AuthCallOperation {
  const perm = { permType, key: bytesFromLatin1(key), rangeEnd: NO_BYTES };
  return operationOf("authRoleGrantPermission", {
    name: role,
    perm: { $typeName: "authpb.Permission", ...perm },
  });
}

const SETUP: readonly AuthCallOperation[] = [
  userAdd("root"),
  operationOf("authUserGrantRole", { user: "root", role: "root" }),
  operationOf("authRoleAdd", { name: "guest" }),
  permit("guest", "k0", Permission_Type.READWRITE),
  permit("guest", "k1", Permission_Type.READ),
  userAdd("guest"),
  operationOf("authUserGrantRole", { user: "guest", role: "guest" }),
  operationOf("authRoleAdd", { name: "pat" }),
  permit("pat", "p0", Permission_Type.READWRITE),
  operationOf("authUserAdd", { name: "pat", password: "pw0", hashedPassword: "" }),
  operationOf("authUserGrantRole", { user: "pat", role: "pat" }),
  operationOf("authEnable", {}),
];

const REVOKE_K1 = operationOf("authRoleRevokePermission", {
  role: "guest",
  key: bytesFromLatin1("k1"),
  rangeEnd: NO_BYTES,
});

/** A call whose first try had no answer, and happened. */
const ALREADY_SO: ReadonlySet<Error> = new Set<Error>([
  SERVER_ERRORS.userAlreadyExist,
  SERVER_ERRORS.roleAlreadyExist,
  SERVER_ERRORS.permissionNotGranted,
]);
