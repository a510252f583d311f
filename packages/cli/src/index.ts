export * from "./command-flags.ts";
export * from "./command-tree.ts";
export * from "./environment.ts";
export * from "./flag-set.ts";
export * from "./go-duration.ts";
export * from "./go-text.ts";
export * from "./text-table.ts";
