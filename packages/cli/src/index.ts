export * from "./command-flags.ts";
export * from "./command-tree.ts";
export * from "./environment.ts";
export * from "./flag-set.ts";
export { formatGoDuration, parseGoDuration } from "@etcd-ts/base";
export * from "./go-text.ts";
export * from "./text-table.ts";
