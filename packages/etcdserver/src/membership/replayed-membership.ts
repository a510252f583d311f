/**
 * Membership as raft's log alone gives it: from the tree of the last `.snap` file and every entry
 * behind it.
 *
 * The backend may be ahead of the entries that are replayed after a start, so it cannot tell what
 * membership was when one of them was first applied. This can, and it is what the next `.snap` file
 * carries.
 */

import { hexFromID } from "@etcd-ts/base";
import { MembershipError } from "./errors.ts";
import type { Member, MemberAttributes } from "./member.ts";
import { V2Store, goString } from "./v2-store.ts";

const MEMBERS = "/0/members";
const REMOVED = "/0/removed_members";
const VERSION = "/0/version";
/** Where version 2 kept users and roles: directories that may be left, empty. */
const SECURITY = "/2";

export class ReplayedMembership {
  #store = new V2Store();

  /** @throws {MembershipError} if `bytes` are no tree that etcd 3.6 would start from */
  recover(bytes: Uint8Array): void {
    const store = V2Store.decode(bytes);
    const before = this.#store;
    this.#store = store;
    try {
      this.members();
      this.#refuseContent();
    } catch (error) {
      this.#store = before;
      throw error;
    }
  }

  encode(): Uint8Array {
    return this.#store.encode();
  }

  /** By id. */
  members(): Map<bigint, Member> {
    const members = new Map<bigint, Member>();
    for (const name of this.#store.list(MEMBERS)) {
      const id = idFrom(name);
      members.set(id, this.#member(id, name));
    }
    return members;
  }

  removed(): Set<bigint> {
    return new Set(this.#store.list(REMOVED).map(idFrom));
  }

  version(): string | undefined {
    return this.#store.get(VERSION);
  }

  /** Keeps what only the running member knows, its attributes, to `setAttributes`. */
  setRaftAttributes(member: Pick<Member, "id" | "peerURLs" | "isLearner">): void {
    const { peerURLs, isLearner } = member;
    const learner = isLearner ? `,"isLearner":true` : "";
    const value = `{"peerURLs":${goStrings(peerURLs)}${learner}}`;
    this.#store.set(`${MEMBERS}/${hexFromID(member.id)}/raftAttributes`, value);
  }

  setAttributes(id: bigint, { name, clientURLs }: MemberAttributes): void {
    const fields: string[] = [];
    if (name !== "") fields.push(`"name":${goString(name)}`);
    if (clientURLs.length > 0) fields.push(`"clientURLs":${goStrings(clientURLs)}`);
    this.#store.set(`${MEMBERS}/${hexFromID(id)}/attributes`, `{${fields.join(",")}}`);
  }

  remove(id: bigint): void {
    this.#store.remove(`${MEMBERS}/${hexFromID(id)}`);
    this.#store.set(`${REMOVED}/${hexFromID(id)}`, "");
  }

  setVersion(version: string): void {
    this.#store.set(VERSION, version);
  }

  #member(id: bigint, name: string): Member {
    const path = `${MEMBERS}/${name}`;
    for (const field of this.#store.list(path)) {
      if (field !== "raftAttributes" && field !== "attributes") {
        throw broken(`${path} has an unknown ${field}`);
      }
    }
    const raft = objectFrom(this.#store.get(`${path}/raftAttributes`), `${path}/raftAttributes`);
    const own = this.#store.get(`${path}/attributes`);
    const attributes = own === undefined ? {} : objectFrom(own, `${path}/attributes`);
    const given = attributes["name"] ?? "";
    if (typeof given !== "string") throw broken(`${path} has no name but ${typeof given}`);
    return {
      id,
      peerURLs: stringsFrom(raft["peerURLs"], path),
      isLearner: raft["isLearner"] === true,
      name: given,
      clientURLs: stringsFrom(attributes["clientURLs"], path),
    };
  }

  /** A 3.6 member starts only if nothing is left of what users kept in version 2. */
  #refuseContent(): void {
    const hasUserData = this.#store.list("/").some((name) => {
      if (name === "0") return false;
      const below = this.#store.list(`/${name}`);
      if (`/${name}` !== SECURITY) return below.length > 0;
      return below.some((part) => this.#store.list(`${SECURITY}/${part}`).length > 0);
    });
    if (hasUserData) {
      throw new MembershipError("V2_CONTENT", "detected disallowed custom content in v2store");
    }
  }
}

function goStrings(texts: readonly string[]): string {
  return `[${texts.map(goString).join(",")}]`;
}

function idFrom(name: string): bigint {
  if (!/^[0-9a-f]{1,16}$/.test(name)) throw broken(`${name} is no member id`);
  return BigInt(`0x${name}`);
}

function objectFrom(text: string | undefined, path: string): { readonly [name: string]: unknown } {
  let json: unknown;
  try {
    json = text === undefined ? undefined : JSON.parse(text);
  } catch (cause) {
    throw new MembershipError("V2_STORE", `v2 store: ${path} is no JSON`, { cause });
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw broken(`${path} is no object`);
  }
  return json as { readonly [name: string]: unknown };
}

function stringsFrom(json: unknown, path: string): string[] {
  if (json === undefined || json === null) return [];
  if (!Array.isArray(json) || !json.every((item) => typeof item === "string")) {
    throw broken(`URLs of ${path} are no list of texts`);
  }
  return json;
}

function broken(reason: string): MembershipError {
  return new MembershipError("V2_STORE", `v2 store: ${reason}`);
}
