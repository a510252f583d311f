/** A member, and its JSON forms in conf changes and towards peers. */

import { WireFormatError, invariant, stringFromUtf8, utf8FromString } from "@etcd-ts/base";
import { decodeMember, encodeMember } from "@etcd-ts/storage";
import type { MemberRecord } from "@etcd-ts/storage";

/** `name` is empty until the member has published its attributes, that is: has started. */
export type Member = MemberRecord;

/** What a member says of itself once it runs. */
export interface MemberAttributes {
  readonly name: string;
  readonly clientURLs: readonly string[];
}

/** A member in a conf change, and whether it is a learner to be made a voter. */
export interface ConfChangeContext {
  readonly member: Member;
  readonly isPromote: boolean;
}

/** The context of a conf change that updates a member or starts a cluster. */
export function encodeMemberContext(member: Member): Uint8Array {
  return utf8FromString(encodeMember(member));
}

/** @throws {WireFormatError} */
export function decodeMemberContext(context: Uint8Array): Member {
  const member = decodeMember(stringFromUtf8(context));
  if (member === undefined) throw new WireFormatError("conf change: context is no member");
  return member;
}

/** The context of a conf change that adds or promotes a member. */
export function encodeConfChangeContext(member: Member, isPromote = false): Uint8Array {
  const json = encodeMember(member);
  invariant(json.endsWith("}"), () => `encodeConfChangeContext: ${json}`);
  return utf8FromString(`${json.slice(0, -1)},"isPromote":${isPromote}}`);
}

/** Also of the first entries of a cluster, which do not name `isPromote`. @throws {WireFormatError} */
export function decodeConfChangeContext(context: Uint8Array): ConfChangeContext {
  const member = decodeMemberContext(context);
  const json: unknown = JSON.parse(stringFromUtf8(context));
  const isPromote = (json as { readonly isPromote?: unknown }).isPromote === true;
  return { member, isPromote };
}

/** The answer of `/members` on the peer port. */
export function encodeMembers(members: readonly Member[]): string {
  return `[${members.map(encodeMember).join(",")}]`;
}
