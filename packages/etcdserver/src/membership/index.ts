export { Cluster } from "./cluster.ts";
export type { DowngradeInfo } from "./cluster.ts";
export { MembershipError } from "./errors.ts";
export type { MembershipErrorCode } from "./errors.ts";
export { refusalOfDuplicates, refusalOfName, refusalOfURLs } from "./initial-cluster.ts";
export { clusterID, memberID } from "./member-id.ts";
export {
  decodeConfChangeContext,
  decodeMemberContext,
  encodeConfChangeContext,
  encodeMemberContext,
  encodeMembers,
} from "./member.ts";
export type { ConfChangeContext, Member, MemberAttributes } from "./member.ts";
export { parseInitialCluster, parseMemberURL, parseMemberURLs } from "./peer-urls.ts";
