/**
 * The certificates of a whole cluster in one directory: the authority, a server and a peer
 * certificate for each member, one for each client, and the list of those taken back.
 *
 *     ca.crt ca.key revoked.crl
 *     members/NAME/server.{crt,key} members/NAME/peer.{crt,key}
 *     clients/NAME.{crt,key}
 *
 * What is there already stays in force: the authority is used again, and the list only grows.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import type { CertificateAuthority } from "./authority.ts";
import { openAuthority, writePair, writeWhole } from "./certificate-files.ts";
import { readRevokedSerials } from "./revocation-list.ts";

export interface MemberName {
  readonly name: string;
  /** DNS names and addresses it is reached by, and comes from. */
  readonly hosts: readonly string[];
}

export interface CertificateSetRequest {
  readonly members: readonly MemberName[];
  /** Common names, which are users where certificates identify them. */
  readonly clients: readonly string[];
  readonly validityDays?: number;
}

/** Every member is also reached from its own machine. */
const OWN_MACHINE: readonly string[] = ["localhost", "127.0.0.1", "::1"];

export class CertificateSet {
  readonly directory: string;
  readonly #authority: CertificateAuthority;

  private constructor(directory: string, authority: CertificateAuthority) {
    this.directory = directory;
    this.#authority = authority;
  }

  /** Makes the authority and an empty list if there are none. @throws {AuthorityError} */
  static async open(directory: string): Promise<CertificateSet> {
    const authority = await openAuthority(join(directory, "ca.crt"), join(directory, "ca.key"));
    const set = new CertificateSet(directory, authority);
    if (!existsSync(set.#revokedPath)) await set.revoke([]);
    return set;
  }

  get #revokedPath(): string {
    return join(this.directory, "revoked.crl");
  }

  /** Issues anew what is asked for. @returns the paths of the certificates */
  async issue({ members, clients, validityDays }: CertificateSetRequest): Promise<string[]> {
    const days = validityDays === undefined ? {} : { validityDays };
    const written: string[] = [];
    const write = async (
      path: string,
      request: Parameters<CertificateAuthority["issue"]>[0],
    ): Promise<void> => {
      const pair = await this.#authority.issue({ ...request, ...days });
      writePair(pair, `${path}.crt`, `${path}.key`);
      written.push(`${path}.crt`);
    };
    for (const { name, hosts } of members) {
      const request = { commonName: name, hosts: [...new Set([...hosts, ...OWN_MACHINE])] };
      for (const kind of ["server", "peer"]) {
        await write(join(this.directory, "members", name, kind), request);
      }
    }
    for (const name of clients) {
      const path = join(this.directory, "clients", name);
      await write(path, { commonName: name, usages: ["client"] });
    }
    return written;
  }

  /** Takes certificates back, given as PEM, beside those taken back before. */
  async revoke(certificates: readonly string[]): Promise<void> {
    const before = existsSync(this.#revokedPath)
      ? readRevokedSerials(readFileSync(this.#revokedPath))
      : new Set<string>();
    const serials = certificates.map((pem) => new X509Certificate(pem).serialNumber);
    const all = new Set([...before, ...serials.map((serial) => serial.toUpperCase())]);
    writeWhole(this.#revokedPath, await this.#authority.revoke([...all].map(wholeBytes)), 0o644);
  }
}

function wholeBytes(hex: string): string {
  return hex.length % 2 === 0 ? hex : `0${hex}`;
}
