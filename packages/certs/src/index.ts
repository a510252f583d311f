export * from "./authority.ts";
export * from "./certificate-files.ts";
export * from "./certificate-set.ts";
export * from "./kubeadm.ts";
export * from "./revocation-list.ts";
