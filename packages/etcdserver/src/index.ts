/** The member as a deterministic machine: propose, persist, apply. */

export * from "./server-api.ts";
export * from "./txn/checks.ts";
