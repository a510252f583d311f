/** The suites every implementation of a port passes. For tests; neither built nor shipped. */
export * from "./clock.ts";
export * from "./disk.ts";
export * from "./logger.ts";
export * from "./metrics.ts";
export * from "./network.ts";
export * from "./random.ts";
