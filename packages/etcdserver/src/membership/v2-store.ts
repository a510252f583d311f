/**
 * The tree that `.snap` files carry: what is left of etcd's version 2 store.
 *
 * A 3.6 member starts from it, so it is written in full, in the form that Go's encoding/json gives
 * (names sorted, `<`, `>` and `&` escaped). It holds nothing but membership and the cluster version:
 *
 *     /0/members/<id>/raftAttributes  {"peerURLs":[...],"isLearner":true}
 *     /0/members/<id>/attributes      {"name":"...","clientURLs":[...]}
 *     /0/removed_members/<id>
 *     /0/version                      3.6.0
 *     /1                              user keys of version 2: must be empty
 *
 * Invariant: each change takes the next index; a node knows the index it was made and changed at.
 */

import { invariant, isUtf8, stringFromUtf8, utf8FromString } from "@etcd-ts/base";
import { MembershipError } from "./errors.ts";

/** Deeper trees than this are none of etcd's; the deepest path is /0/members/<id>/attributes. */
const DEPTH_MAX = 16;
/** Room for past events, all unused: nobody watches this store. */
const EVENTS_CAPACITY = 1000;
const STORE_VERSION = 2;
const NEVER = "0001-01-01T00:00:00Z";

const STATS = [
  ["getsSuccess", "getsFail", "setsSuccess", "setsFail", "deleteSuccess", "deleteFail"],
  ["updateSuccess", "updateFail", "createSuccess", "createFail"],
  ["compareAndSwapSuccess", "compareAndSwapFail"],
  ["compareAndDeleteSuccess", "compareAndDeleteFail", "expireCount", "watchers"],
].flat();

interface Node {
  value: string;
  readonly createdIndex: number;
  modifiedIndex: number;
  /** Undefined for a file. */
  readonly children: Map<string, Node> | undefined;
}

export class V2Store {
  #root: Node;
  #index: number;
  /** As of `index`: it is asked for after every hundred entries, and hardly ever changes. */
  #encoded: { readonly index: number; readonly bytes: Uint8Array } | undefined;

  constructor() {
    this.#root = directory(0);
    this.#index = 0;
    for (const name of ["0", "1"]) this.#root.children!.set(name, directory(0));
  }

  /** @throws {MembershipError} `V2_STORE` if `bytes` are no such tree */
  static decode(bytes: Uint8Array): V2Store {
    const json = parse(bytes);
    const root = nodeFrom(json["Root"], "/", 0);
    if (root.children === undefined) throw broken("Root is no directory");
    const store = new V2Store();
    store.#root = root;
    const index = json["CurrentIndex"];
    store.#index =
      typeof index === "number" && Number.isSafeInteger(index) && index > 0 ? index : 0;
    return store;
  }

  /** The result is shared, and never changed. */
  encode(): Uint8Array {
    if (this.#encoded?.index !== this.#index) {
      this.#encoded = { index: this.#index, bytes: this.#encodeNow() };
    }
    return this.#encoded.bytes;
  }

  #encodeNow(): Uint8Array {
    const events = Array.from({ length: EVENTS_CAPACITY }, () => "null").join(",");
    const queue = `{"Events":[${events}],"Size":0,"Front":0,"Back":0,"Capacity":${EVENTS_CAPACITY}}`;
    const history = `{"Queue":${queue},"StartIndex":0,"LastIndex":0}`;
    const stats = STATS.map((name) => `"${name}":0`).join(",");
    return utf8FromString(
      `{"Root":${encodeNode(this.#root, "/")},"WatcherHub":{"EventHistory":${history}},` +
        `"CurrentIndex":${this.#index},"Stats":{${stats}},"CurrentVersion":${STORE_VERSION}}`,
    );
  }

  /** The value of a file; undefined if there is none. */
  get(path: string): string | undefined {
    const node = this.#find(path);
    return node?.children === undefined ? node?.value : undefined;
  }

  /** Names in a directory, sorted; empty if there is none. */
  list(path: string): string[] {
    return [...(this.#find(path)?.children?.keys() ?? [])].sort();
  }

  /** Makes or replaces a file, and the directories above it. */
  set(path: string, value: string): void {
    this.#index++;
    const names = split(path);
    const last = names.pop();
    invariant(last !== undefined, () => "V2Store.set: the root");
    let parent = this.#root;
    for (const name of names) {
      let next = parent.children?.get(name);
      if (next === undefined) {
        next = directory(this.#index);
        parent.children?.set(name, next);
      }
      parent = next;
    }
    invariant(parent.children !== undefined, () => `V2Store.set: ${path} is below a file`);
    const createdIndex = parent.children.get(last)?.createdIndex ?? this.#index;
    const node = { value, createdIndex, modifiedIndex: this.#index, children: undefined };
    parent.children.set(last, node);
  }

  /** Removes a file, or a directory and all below it; false if there is none. */
  remove(path: string): boolean {
    const names = split(path);
    const last = names.pop();
    const parent = this.#find(`/${names.join("/")}`);
    if (last === undefined || parent?.children?.delete(last) !== true) return false;
    this.#index++;
    return true;
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const name of split(path)) node = node?.children?.get(name);
    return node;
  }
}

function directory(index: number): Node {
  return { value: "", createdIndex: index, modifiedIndex: index, children: new Map() };
}

function split(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}

function encodeNode(node: Node, path: string): string {
  const { value, createdIndex, modifiedIndex, children } = node;
  return (
    `{"Path":${goString(path)},"CreatedIndex":${createdIndex},"ModifiedIndex":${modifiedIndex},` +
    `"ExpireTime":"${NEVER}","Value":${goString(value)},"Children":${encodeChildren(children, path)}}`
  );
}

function encodeChildren(children: ReadonlyMap<string, Node> | undefined, path: string): string {
  if (children === undefined) return "null";
  const parent = path === "/" ? "" : path;
  const fields = [...children.keys()]
    .sort()
    .map((name) => `${goString(name)}:${encodeNode(children.get(name)!, `${parent}/${name}`)}`);
  return `{${fields.join(",")}}`;
}

/** A string literal as Go writes it: `<`, `>`, `&` and two line separators are escaped too. */
export function goString(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

type JSONObject = { readonly [name: string]: unknown };

function isObject(value: unknown): value is JSONObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parse(bytes: Uint8Array): JSONObject {
  if (!isUtf8(bytes)) throw broken("not UTF-8");
  let json: unknown;
  try {
    json = JSON.parse(stringFromUtf8(bytes));
  } catch (cause) {
    throw new MembershipError("V2_STORE", "v2 store: no JSON", { cause });
  }
  if (!isObject(json)) throw broken("no object");
  return json;
}

function nodeFrom(json: unknown, path: string, depth: number): Node {
  if (!isObject(json) || depth > DEPTH_MAX) throw broken(`${path} is no node`);
  const { Value: value = "", Children: children } = json;
  if (typeof value !== "string") throw broken(`the value of ${path} is no text`);
  const created = indexFrom(json["CreatedIndex"]);
  const modified = indexFrom(json["ModifiedIndex"]);
  if (children === undefined || children === null) {
    return { value, createdIndex: created, modifiedIndex: modified, children: undefined };
  }
  if (!isObject(children)) throw broken(`the children of ${path} are no object`);
  const parent = path === "/" ? "" : path;
  const nodes = new Map<string, Node>();
  for (const [name, child] of Object.entries(children)) {
    nodes.set(name, nodeFrom(child, `${parent}/${name}`, depth + 1));
  }
  return { value, createdIndex: created, modifiedIndex: modified, children: nodes };
}

function indexFrom(json: unknown): number {
  return typeof json === "number" && Number.isSafeInteger(json) && json >= 0 ? json : 0;
}

function broken(reason: string): MembershipError {
  return new MembershipError("V2_STORE", `v2 store: ${reason}`);
}
