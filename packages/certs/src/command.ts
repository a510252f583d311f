/** `npm run certs`: makes the certificates of a test cluster, or those kubeadm would make. */

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { EtcdError } from "@etcd-ts/base";
import { CertificateSet } from "./certificate-set.ts";
import type { MemberName } from "./certificate-set.ts";
import { writeKubeadmCertificates } from "./kubeadm.ts";

export const USAGE = `Makes an authority and the certificates of an etcd cluster.

  npm run certs -- DIR [--member NAME=HOST,HOST]... [--client NAME]... [--days N]
  npm run certs -- DIR --revoke FILE.crt...
  npm run certs -- DIR --kubeadm NODE=ADDRESS,ADDRESS... [--days N]

DIR/ca.crt and DIR/ca.key are made once and used again. Without options there is one member,
"default", and one client, "root". Every member certificate is also good for localhost.
Keys can be read by their owner only; keep ca.key away from the machines of the members.

Examples

  A member on this machine, and etcdctl as root:
    npm run certs -- certs
    bin/etcd --cert-file certs/members/default/server.crt --key-file certs/members/default/server.key \\
      --trusted-ca-file certs/ca.crt --client-cert-auth --client-crl-file certs/revoked.crl \\
      --listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379
    bin/etcdctl --endpoints https://127.0.0.1:2379 --cacert certs/ca.crt \\
      --cert certs/clients/root.crt --key certs/clients/root.key endpoint health

  Three members; members/NAME/peer.crt is for --peer-cert-file:
    npm run certs -- certs --member m0=10.0.0.1 --member m1=10.0.0.2 --member m2=10.0.0.3,m2.example

  One more client, later; and one taken back:
    npm run certs -- certs --client alice
    npm run certs -- certs --revoke certs/clients/alice.crt

  What kubeadm puts below /etc/kubernetes/pki, for a node and its addresses:
    npm run certs -- pki --kubeadm node-1=10.0.0.7
`;

/** What was asked for makes no sense. */
export class UsageError extends EtcdError {
  readonly code = "USAGE";
}

const OPTIONS = {
  help: { type: "boolean", short: "h" },
  member: { type: "string", multiple: true },
  client: { type: "string", multiple: true },
  revoke: { type: "string", multiple: true },
  kubeadm: { type: "string" },
  days: { type: "string" },
} as const;

/**
 * @param print - one line of what was done
 * @throws {UsageError | AuthorityError} and system errors
 */
export async function makeCertificates(
  words: readonly string[],
  print: (line: string) => void,
): Promise<void> {
  const { values, positionals } = parse(words);
  if (values.help === true) {
    print(USAGE.trimEnd());
    return;
  }
  const [directory, ...rest] = positionals;
  if (directory === undefined || rest.length > 0) throw new UsageError("name one directory");
  const validityDays = values.days === undefined ? undefined : daysOf(values.days);
  const days = validityDays === undefined ? {} : { validityDays };
  if (values.kubeadm !== undefined) {
    const { name, hosts } = memberOf(values.kubeadm);
    const node = { name, addresses: hosts };
    for (const path of await writeKubeadmCertificates(directory, node, validityDays)) print(path);
    return;
  }
  const set = await CertificateSet.open(directory);
  const { member = [], client = [], revoke = [] } = values;
  if (revoke.length > 0) {
    await set.revoke(revoke.map((path) => readFileSync(path, "utf8")));
    for (const path of revoke) print(`revoked ${path}`);
  }
  const isBare = member.length === 0 && client.length === 0 && revoke.length === 0;
  const written = await set.issue({
    members: isBare ? [{ name: "default", hosts: [] }] : member.map(memberOf),
    clients: isBare ? ["root"] : client.map(nameOf),
    ...days,
  });
  for (const path of written) print(path);
}

function parse(words: readonly string[]) {
  try {
    return parseArgs({ args: [...words], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

function memberOf(text: string): MemberName {
  const [name = "", list = "", ...rest] = text.split("=");
  if (rest.length > 0) throw new UsageError(`not NAME=HOST,HOST: ${text}`);
  return { name: nameOf(name), hosts: list.split(",").filter((host) => host !== "") };
}

/** Names become file names. */
function nameOf(text: string): string {
  if (!/^[A-Za-z0-9_@:-][A-Za-z0-9_.@:-]*$/.test(text)) {
    throw new UsageError(`not a name: ${JSON.stringify(text)}`);
  }
  return text;
}

function daysOf(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new UsageError(`not a number of days: ${text}`);
  return Number(text);
}
