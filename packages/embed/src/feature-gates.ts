/** Named switches of etcd 3.6 (`--feature-gates A=true,B=false`). */

import { ConfigError } from "./listen-url.ts";

interface FeatureGate {
  readonly enabledByDefault: boolean;
  readonly stage: "ALPHA" | "BETA";
}

export const FEATURE_GATES = {
  CompactHashCheck: { enabledByDefault: false, stage: "ALPHA" },
  InitialCorruptCheck: { enabledByDefault: false, stage: "ALPHA" },
  LeaseCheckpoint: { enabledByDefault: false, stage: "ALPHA" },
  LeaseCheckpointPersist: { enabledByDefault: false, stage: "ALPHA" },
  SetMemberLocalAddr: { enabledByDefault: false, stage: "ALPHA" },
  StopGRPCServiceOnDefrag: { enabledByDefault: false, stage: "ALPHA" },
  TxnModeWriteWithSharedBuffer: { enabledByDefault: true, stage: "BETA" },
} as const satisfies { readonly [name: string]: FeatureGate };

export type FeatureGateName = keyof typeof FEATURE_GATES;
export type FeatureGates = { readonly [Name in FeatureGateName]: boolean };

export const FEATURE_GATE_NAMES = Object.keys(FEATURE_GATES) as readonly FeatureGateName[];

export function defaultFeatureGates(): FeatureGates {
  return featureGatesFrom(new Map());
}

function featureGatesFrom(given: ReadonlyMap<string, boolean>): FeatureGates {
  const entries = FEATURE_GATE_NAMES.map((name) => {
    const { enabledByDefault, stage } = FEATURE_GATES[name];
    const all = given.get(stage === "ALPHA" ? "AllAlpha" : "AllBeta");
    return [name, given.get(name) ?? all ?? enabledByDefault] as const;
  });
  return Object.fromEntries(entries) as { [Name in FeatureGateName]: boolean };
}

/** @throws {ConfigError} on an unknown name or a value that is no boolean */
export function parseFeatureGates(text: string): FeatureGates {
  const given = new Map<string, boolean>();
  for (const part of text.split(",")) {
    if (part.trim() === "") continue;
    const equals = part.indexOf("=");
    const name = (equals < 0 ? part : part.slice(0, equals)).trim();
    if (equals < 0) throw new ConfigError(`missing bool value for ${name}`);
    const value = part.slice(equals + 1).trim();
    if (name !== "AllAlpha" && name !== "AllBeta" && !(name in FEATURE_GATES)) {
      throw new ConfigError(`unrecognized feature gate: ${name}`);
    }
    if (!/^(1|0|t|f|true|false)$/i.test(value)) {
      throw new ConfigError(`invalid value of ${name}=${value}, err: parse error`);
    }
    given.set(name, /^(1|t|true)$/i.test(value));
  }
  return featureGatesFrom(given);
}
