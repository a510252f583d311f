export * from "./check.ts";
export * from "./compact.ts";
export * from "./database.ts";
export * from "./errors.ts";
export * from "./types.ts";
