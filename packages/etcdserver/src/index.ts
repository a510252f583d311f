/** The member as a deterministic machine: propose, persist, apply. */

export * from "./server-api.ts";
export * from "./server.ts";
export * from "./txn/checks.ts";
export { isReadOnlyTxn } from "./txn/execute.ts";
export type { AuthOperation, AuthResult } from "./auth/auth-store.ts";
export * from "./auth/ports.ts";
export { BootstrapError, dataPaths } from "./bootstrap.ts";
export type { DataPaths } from "./bootstrap.ts";
export { alarmName } from "./alarm/alarm-store.ts";
export * from "./lease/index.ts";
export * from "./membership/index.ts";
