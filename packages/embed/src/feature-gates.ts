/** Named switches of etcd 3.6 (`--feature-gates A=true,B=false`). */

import type { Metrics } from "@etcd-ts/base";
import { ConfigError } from "./listen-url.ts";

interface FeatureGate {
  readonly enabledByDefault: boolean;
  readonly stage: "ALPHA" | "BETA";
}

export const FEATURE_GATES = {
  // Each stands for all gates of its stage that are not named.
  AllAlpha: { enabledByDefault: false, stage: "ALPHA" },
  AllBeta: { enabledByDefault: false, stage: "BETA" },
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

/** Shows operators which are on. */
export function reportFeatureGates(gates: FeatureGates, metrics: Metrics): void {
  const family = metrics.gaugeFamily({
    name: "etcd_server_feature_enabled",
    help: "Whether or not a feature is enabled. 1 is enabled, 0 is not.",
    labelNames: ["name", "stage"],
  });
  for (const name of FEATURE_GATE_NAMES) {
    family.labels({ name, stage: FEATURE_GATES[name].stage }).set(gates[name] ? 1 : 0);
  }
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
    if (!(name in FEATURE_GATES)) {
      throw new ConfigError(`unrecognized feature gate: ${name}`);
    }
    if (!/^(1|0|t|f|true|false)$/i.test(value)) {
      throw new ConfigError(`invalid value of ${name}=${value}, err: parse error`);
    }
    given.set(name, /^(1|t|true)$/i.test(value));
  }
  return featureGatesFrom(given);
}
