/** member add, remove, update, promote, list. */

import { Cluster } from "@etcd-ts/api";
import { goQuote, out, parseGoUint } from "@etcd-ts/cli";

import type { Context } from "../context.ts";
import { badArguments, EXIT, ExitError, orBadArguments } from "../exit.ts";
import { headerOf } from "../printers/printer.ts";
import type { AnyHeader } from "../printers/printer.ts";
import { isSerializable } from "./kv-arguments.ts";

function memberID(context: Context): bigint {
  const [word] = context.args;
  if (word === undefined || context.args.length !== 1) {
    throw badArguments("member ID is not provided");
  }
  return orBadArguments(
    () => parseGoUint(word, 16),
    (text) => `bad member ID arg (${text}), expecting ID in Hex`,
  );
}

function peerURLs(context: Context): string {
  const urls = context.flags.string("peer-urls");
  if (urls === "") throw badArguments("member peer urls not provided");
  return urls;
}

const SCHEMES = new Set(["http:", "https:", "unix:", "unixs:"]);

/**
 * URLs between commas. They are checked here: a member of 3.6 stops when it is told of a peer
 * with a URL that is none.
 *
 * @throws {ExitError}
 */
export function parsePeerURLs(text: string): readonly string[] {
  return text.split(",").map((word) => {
    const url = word.trim();
    const refuse = (why: string): ExitError => new ExitError(EXIT.error, `${why}: ${url}`);
    const match = /^([a-zA-Z][a-zA-Z0-9+.-]*:)\/\/([^/?#]*)(.*)$/.exec(url);
    if (match === null || !SCHEMES.has(match[1]!.toLowerCase())) {
      throw refuse("URL scheme must be http, https, unix, or unixs");
    }
    const [, scheme = "", host = "", path = ""] = match;
    if (scheme.startsWith("http") && !/^(\[[^\]]*\]|[^:[\]]*):[^:]*$/.test(host)) {
      throw refuse('URL address does not have the form "host:port"');
    }
    if (scheme.startsWith("http") && path !== "") throw refuse("URL must not contain a path");
    return url;
  });
}

function changeText(id: bigint, change: string, header: AnyHeader | undefined): string {
  const cluster = headerOf(header)?.clusterID ?? 0n;
  const padded = (value: bigint): string => value.toString(16).padStart(16);
  return `Member ${padded(id)} ${change} cluster ${padded(cluster)}`;
}

export async function add(context: Context): Promise<void> {
  const [name, ...others] = context.args;
  if (name === undefined) throw badArguments("member name not provided");
  if (others.length > 0) {
    const urls = context.args.filter((word) => /^http/i.test(word));
    throw badArguments(
      `too many arguments${urls.map((url) => `, did you mean --peer-urls=${url}`).join("")}`,
    );
  }
  const urls = peerURLs(context);
  const client = await context.client();
  const response = await client.cluster.add(parsePeerURLs(urls), {
    learner: context.flags.bool("learner"),
    ...context.timeout,
  });
  context.printer.memberAdd(response);
  if (context.format !== "simple") return;
  const cluster = response.members.flatMap((member) =>
    member.peerURLs.map(
      (url) => `${member.ID === response.member?.ID ? name : member.name}=${url}`,
    ),
  );
  out(
    `\nETCD_NAME=${goQuote(name)}\nETCD_INITIAL_CLUSTER=${goQuote(cluster.join(","))}\n` +
      `ETCD_INITIAL_ADVERTISE_PEER_URLS=${goQuote(urls)}\nETCD_INITIAL_CLUSTER_STATE="existing"\n`,
  );
}

export async function remove(context: Context): Promise<void> {
  const id = memberID(context);
  const client = await context.client();
  const response = await client.cluster.remove(id, context.timeout);
  const text = changeText(id, "removed from", response.header);
  context.printer.memberChange(text, Cluster.MemberRemove, response);
}

export async function update(context: Context): Promise<void> {
  const id = memberID(context);
  const urls = peerURLs(context);
  const client = await context.client();
  const response = await client.cluster.update(id, parsePeerURLs(urls), context.timeout);
  const text = changeText(id, "updated in", response.header);
  context.printer.memberChange(text, Cluster.MemberUpdate, response);
}

export async function promote(context: Context): Promise<void> {
  const id = memberID(context);
  const client = await context.client();
  const response = await client.cluster.promote(id, context.timeout);
  const text = changeText(id, "promoted in", response.header);
  context.printer.memberChange(text, Cluster.MemberPromote, response);
}

export async function list(context: Context): Promise<void> {
  const serializable = isSerializable(context.flags.string("consistency"));
  const client = await context.client();
  context.printer.memberList(await client.cluster.list({ serializable, ...context.timeout }));
}
