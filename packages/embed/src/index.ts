export * from "./config.ts";
export { createLogger, startEtcd, startMember } from "./etcd.ts";
export type { Etcd, EtcdSettings, MemberEnvironment } from "./etcd.ts";
export { nodeNames } from "./discovery/names.ts";
export type { Names, ServiceRecord } from "./discovery/names.ts";
export * from "./feature-gates.ts";
export { ListenError } from "./listener.ts";
export * from "./listen-url.ts";
