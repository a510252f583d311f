export * from "./config.ts";
export * from "./feature-gates.ts";
export * from "./listen-url.ts";
