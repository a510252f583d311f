/** Names of log segments: `<sequence>-<first index>.wal`, both 16 lower-case hex digits. */

import { invariant } from "@etcd-ts/base";

export const SEGMENT_SUFFIX = ".wal";

export interface SegmentName {
  readonly name: string;
  /** 0 for the first segment of a log, then without gaps. */
  readonly sequence: number;
  /** The index the first entry written to it had or would have had; 0 for the first segment. */
  readonly firstIndex: number;
}

export function hex16(value: number): string {
  invariant(Number.isSafeInteger(value) && value >= 0, () => `hex16: ${value}`);
  return value.toString(16).padStart(16, "0");
}

export function segmentName(sequence: number, firstIndex: number): SegmentName {
  return { name: `${hex16(sequence)}-${hex16(firstIndex)}${SEGMENT_SUFFIX}`, sequence, firstIndex };
}

/** Undefined for any other file. */
export function parseSegmentName(name: string): SegmentName | undefined {
  const match = /^([0-9a-f]{16})-([0-9a-f]{16})\.wal$/.exec(name);
  if (match === null) return undefined;
  const sequence = parseInt(match[1]!, 16);
  const firstIndex = parseInt(match[2]!, 16);
  if (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(firstIndex)) return undefined;
  return { name, sequence, firstIndex };
}

/** The segments among `names`, in order of sequence. */
export function segmentsOf(names: readonly string[]): SegmentName[] {
  const segments: SegmentName[] = [];
  for (const name of names) {
    const segment = parseSegmentName(name);
    if (segment !== undefined) segments.push(segment);
  }
  return segments.sort((a, b) => a.sequence - b.sequence);
}
