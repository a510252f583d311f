export * from "./environment.ts";
export * from "./flag-set.ts";
export * from "./go-duration.ts";
