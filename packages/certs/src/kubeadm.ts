/**
 * The set of certificates kubeadm makes for a stacked etcd member, with its file names, subjects
 * and names: https://kubernetes.io/docs/setup/best-practices/certificates/
 */

import { join } from "node:path";
import { CertificateAuthority } from "./authority.ts";
import type { CertificateRequest } from "./authority.ts";
import { writePair, writeWhole } from "./certificate-files.ts";

export interface KubeadmNode {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** The group kubeadm puts its etcd clients into. */
const ADMIN_GROUP = "kubeadm:cluster-admins";

/**
 * Writes `etcd/{ca,server,peer,healthcheck-client}` and `apiserver-etcd-client`, each `.crt` and
 * `.key`, below `directory`, which stands for `/etc/kubernetes/pki`.
 *
 * @returns the paths of the certificates
 */
export async function writeKubeadmCertificates(
  directory: string,
  node: KubeadmNode,
  authority?: CertificateAuthority,
): Promise<readonly string[]> {
  const ca = authority ?? (await CertificateAuthority.create({ commonName: "etcd-ca" }));
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
  const written = [join(directory, "etcd/ca.crt")];
  writeWhole(written[0]!, ca.pair.cert, 0o644);
  writeWhole(join(directory, "etcd/ca.key"), ca.pair.key, 0o600);
  for (const [name, request] of leaves) {
    const path = join(directory, `${name}.crt`);
    writePair(await ca.issue(request), path, join(directory, `${name}.key`));
    written.push(path);
  }
  return written;
}
