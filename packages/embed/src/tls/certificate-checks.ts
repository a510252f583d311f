/**
 * What a verified certificate has to pass beside its signature: lists of names, the address it
 * comes from, and the list of those taken back. A check answers with the reason for a refusal, in
 * etcd's words, or undefined.
 */

import type { X509Certificate } from "node:crypto";
import { promises as dns } from "node:dns";
import { isIP } from "node:net";
import { canonicalSerial, readRevokedSerials, RevocationListError } from "@etcd-ts/certs";
import { altNamesOf } from "@etcd-ts/rpc";
import { fileStamp, readTLSFile, TLSMaterialError } from "@etcd-ts/runtime";
import type { TransportSecurity } from "./transport-security.ts";

/** Longer chains are refused by the handshake. */
const CHAIN_LENGTH_MAX = 16;

export function checkAllowedNames(
  certificate: X509Certificate,
  { allowedCNs, allowedHostnames }: Pick<TransportSecurity, "allowedCNs" | "allowedHostnames">,
): string | undefined {
  const refused = "client certificate authentication failed";
  if (allowedCNs.length > 0) {
    return allowedCNs.includes(commonNameOf(certificate)) ? undefined : refused;
  }
  if (allowedHostnames.length === 0) return undefined;
  return allowedHostnames.some((host) => isValidFor(certificate, host)) ? undefined : refused;
}

/** Of the subject; empty if it has none. */
export function commonNameOf(certificate: X509Certificate): string {
  const { CN } = certificate.toLegacyObject().subject as { CN?: string | string[] };
  // Several are given in order; Go takes the last one.
  return (Array.isArray(CN) ? CN.at(-1) : CN) ?? "";
}

function isValidFor(certificate: X509Certificate, host: string): boolean {
  if (isIP(host) !== 0) return certificate.checkIP(host) !== undefined;
  return certificate.checkHost(host, { subject: "never" }) !== undefined;
}

/**
 * Whether a certificate that names addresses or hosts comes from one of them. Asks the DNS when it
 * names hosts, as etcd does: the names of the address first, then the addresses of the names.
 */
export async function checkRemoteAddress(
  certificate: X509Certificate,
  address: string,
): Promise<string | undefined> {
  const { addresses, hosts } = altNamesOf(certificate);
  if (addresses.length === 0 && hosts.length === 0) return undefined;
  if (addresses.length > 0) {
    if (certificate.checkIP(address) !== undefined) return undefined;
    if (hosts.length === 0) {
      return `x509: certificate is valid for ${addresses.join(", ")}, not ${address}`;
    }
  }
  const failure = await matchDNS(hosts, address);
  if (failure === undefined) return undefined;
  const names = hosts.map((host) => JSON.stringify(host)).join(" ");
  return `tls: ${JSON.stringify(address)} does not match any of DNSNames [${names}]${failure}`;
}

/** @returns undefined for a match, else what went wrong on the way, in brackets, or nothing */
async function matchDNS(hosts: readonly string[], address: string): Promise<string | undefined> {
  const wildcards = hosts.filter((host) => host.startsWith("*.")).map((host) => host.slice(1));
  const names = hosts.filter((host) => !host.startsWith("*."));
  let failure = "";
  try {
    for (const name of await dns.reverse(address)) {
      const plain = name.replace(/\.$/, "");
      if (names.includes(plain) || wildcards.some((end) => plain.endsWith(end))) return undefined;
    }
  } catch (error) {
    failure = ` (${(error as Error).message})`;
  }
  for (const name of names) {
    try {
      const found = await dns.lookup(name, { all: true });
      if (found.some((entry) => entry.address === address)) return undefined;
    } catch (error) {
      failure = ` (${(error as Error).message})`;
    }
  }
  return failure;
}

/** A revocation list in a file, read anew when the file changes. */
export class RevocationFile {
  readonly #path: string;
  #stamp: string | undefined;
  #revoked: ReadonlySet<string> = new Set();

  constructor(path: string) {
    this.#path = path;
  }

  /** Fails closed: without a readable list nobody passes. */
  check(leaf: X509Certificate): string | undefined {
    try {
      this.#refresh();
    } catch (error) {
      const isExpected = error instanceof TLSMaterialError || error instanceof RevocationListError;
      if (!isExpected) throw error;
      return error.message;
    }
    let certificate: X509Certificate | undefined = leaf;
    for (let i = 0; certificate !== undefined && i < CHAIN_LENGTH_MAX; i++) {
      const { serialNumber }: { readonly serialNumber: string } = certificate;
      if (this.#revoked.has(canonicalSerial(serialNumber))) {
        return `transport: certificate serial ${serialNumber.toLowerCase()} revoked`;
      }
      const issuer: X509Certificate | undefined = certificate.issuerCertificate;
      certificate = issuer === certificate ? undefined : issuer;
    }
    return undefined;
  }

  #refresh(): void {
    const stamp = fileStamp(this.#path);
    if (stamp === this.#stamp) return;
    this.#stamp = undefined;
    this.#revoked = readRevokedSerials(readTLSFile(this.#path));
    this.#stamp = stamp;
  }
}
