/** Versions of etcd: which one this is, and how versions are read and ordered (semver.org). */

/** What `/version`, `StatusResponse.version` and `X-Server-Version` say. */
export const SERVER_VERSION = "3.6.14";

/** The lowest cluster version a member of this version joins. */
export const CLUSTER_VERSION_MIN = "3.0.0";

/** A semantic version. */
export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** `alpha.1` of `3.6.0-alpha.1`; empty for a release. */
  readonly preRelease: string;
  /** What follows `+`; takes no part in the order. */
  readonly metadata: string;
}

/** A release without pre-release part or metadata. */
export function versionOf(major: number, minor: number, patch = 0): Version {
  return { major, minor, patch, preRelease: "", metadata: "" };
}

const PATTERN =
  /^(\d{1,15})\.(\d{1,15})\.(\d{1,15})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$/;

/** Reads `major.minor.patch[-preRelease][+metadata]`; undefined if `text` is anything else. */
export function parseVersion(text: string): Version | undefined {
  const match = PATTERN.exec(text);
  if (match === null) return undefined;
  return {
    major: Number(match[1]),
    minor: Number(match[2]),
    patch: Number(match[3]),
    preRelease: match[4] ?? "",
    metadata: match[5] ?? "",
  };
}

/** The inverse of `parseVersion`. */
export function formatVersion(version: Version): string {
  const { major, minor, patch, preRelease, metadata } = version;
  const release = `${major}.${minor}.${patch}`;
  return release + (preRelease && `-${preRelease}`) + (metadata && `+${metadata}`);
}

/** `major.minor`: what a cluster version amounts to. */
export function majorMinor(version: Version): string {
  return `${version.major}.${version.minor}`;
}

/** Orders by precedence: a pre-release comes before its release. Negative, zero or positive. */
export function compareVersions(a: Version, b: Version): number {
  return (
    a.major - b.major ||
    a.minor - b.minor ||
    a.patch - b.patch ||
    comparePreReleases(a.preRelease, b.preRelease)
  );
}

function comparePreReleases(a: string, b: string): number {
  if (a === b) return 0;
  if (a === "") return 1;
  if (b === "") return -1;
  const left = a.split(".");
  const right = b.split(".");
  for (let i = 0; i < left.length && i < right.length; i++) {
    const order = compareIdentifiers(left[i]!, right[i]!);
    if (order !== 0) return order;
  }
  return left.length - right.length;
}

/** Numbers by value and before words; words by ASCII order. */
function compareIdentifiers(a: string, b: string): number {
  const aNumber = /^\d+$/.test(a);
  const bNumber = /^\d+$/.test(b);
  if (aNumber && bNumber) {
    const difference = BigInt(a) - BigInt(b);
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
  }
  if (aNumber !== bNumber) return aNumber ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}
