/**
 * The set of certificates kubeadm makes for a stacked etcd member, with its file names, subjects
 * and names: https://kubernetes.io/docs/setup/best-practices/certificates/
 */

import { join } from "node:path";
import type { CertificateRequest } from "./authority.ts";
import { openAuthority, writePair } from "./certificate-files.ts";

export interface KubeadmNode {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** The group kubeadm puts its etcd clients into. */
const ADMIN_GROUP = "kubeadm:cluster-admins";

/**
 * Writes `etcd/{ca,server,peer,healthcheck-client}` and `apiserver-etcd-client`, each `.crt` and
 * `.key`, below `directory`, which stands for `/etc/kubernetes/pki`. An authority that is there
 * already is used, so that the nodes of a cluster trust each other.
 *
 * @returns the paths of the certificates
 */
export async function writeKubeadmCertificates(
  directory: string,
  node: KubeadmNode,
  validityDays?: number,
): Promise<readonly string[]> {
  const ca = await openAuthority(join(directory, "etcd/ca.crt"), join(directory, "etcd/ca.key"));
  const hosts = [node.name, "localhost", ...node.addresses, "127.0.0.1", "::1"];
  const leaves: readonly (readonly [string, CertificateRequest])[] = [
    ["etcd/server", { commonName: node.name, hosts }],
    ["etcd/peer", { commonName: node.name, hosts }],
    [
      "etcd/healthcheck-client",
      {
        commonName: "kube-etcd-healthcheck-client",
        organization: ADMIN_GROUP,
        usages: ["client"],
      },
    ],
    [
      "apiserver-etcd-client",
      {
        commonName: "kube-apiserver-etcd-client",
        organization: ADMIN_GROUP,
        usages: ["client"],
      },
    ],
  ];
  const written: string[] = [join(directory, "etcd/ca.crt")];
  const days = validityDays === undefined ? {} : { validityDays };
  for (const [name, request] of leaves) {
    const path = join(directory, `${name}.crt`);
    writePair(await ca.issue({ ...request, ...days }), path, join(directory, `${name}.key`));
    written.push(path);
  }
  return written;
}
