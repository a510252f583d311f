/** For tests: an authority's good and bad certificates as files, and a member that uses them. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import type { RequestOptions } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryLogger } from "@etcd-ts/base";
import { CertificateAuthority, issueSelfSigned, writePair, writeWhole } from "@etcd-ts/certs";
import type { CertificatePair, CertificateRequest } from "@etcd-ts/certs";
import { startEtcd } from "../etcd.ts";
import type { Etcd, EtcdSettings } from "../etcd.ts";
import { NO_TRANSPORT_SECURITY } from "./transport-security.ts";
import type { TransportSecurity } from "./transport-security.ts";

export const LOOPBACK: readonly string[] = ["localhost", "127.0.0.1", "::1"];

const DAY_MS = 24 * 60 * 60 * 1000;

/** Requests for certificates the same authority signs and a server has to refuse, or not. */
export const LEAVES = {
  good: { commonName: "alice", hosts: LOOPBACK },
  expired: {
    commonName: "alice",
    hosts: LOOPBACK,
    notBefore: new Date(Date.now() - 10 * DAY_MS),
    validityDays: 9,
  },
  early: { commonName: "alice", hosts: LOOPBACK, notBefore: new Date(Date.now() + DAY_MS) },
  elsewhere: { commonName: "alice", hosts: ["192.0.2.1", "elsewhere.invalid"] },
  serverOnly: { commonName: "alice", hosts: LOOPBACK, usages: ["server"] },
  revoked: { commonName: "alice", hosts: LOOPBACK },
} as const satisfies { readonly [name: string]: CertificateRequest };

export type LeafName = keyof typeof LEAVES | "otherAuthority" | "selfSigned";

export class CertificateFixture {
  readonly directory: string;
  readonly authority: CertificateAuthority;
  readonly caFile: string;
  readonly crlFile: string;
  readonly #pairs: { readonly [Name in LeafName]: CertificatePair };

  private constructor(
    directory: string,
    authority: CertificateAuthority,
    pairs: { readonly [Name in LeafName]: CertificatePair },
  ) {
    this.directory = directory;
    this.authority = authority;
    this.caFile = join(directory, "ca.crt");
    this.crlFile = join(directory, "revoked.crl");
    this.#pairs = pairs;
  }

  static async make(): Promise<CertificateFixture> {
    const directory = mkdtempSync(join(tmpdir(), "etcd-tls-"));
    const authority = await CertificateAuthority.create();
    const other = await CertificateAuthority.create({ commonName: "other" });
    const pairs = {
      good: await authority.issue(LEAVES.good),
      expired: await authority.issue(LEAVES.expired),
      early: await authority.issue(LEAVES.early),
      elsewhere: await authority.issue(LEAVES.elsewhere),
      serverOnly: await authority.issue(LEAVES.serverOnly),
      revoked: await authority.issue(LEAVES.revoked),
      otherAuthority: await other.issue(LEAVES.good),
      selfSigned: await issueSelfSigned({
        hosts: LOOPBACK,
        usages: ["server", "client"],
        validityDays: 1,
      }),
    };
    const fixture = new CertificateFixture(directory, authority, pairs);
    writeWhole(fixture.caFile, authority.pair.cert, 0o644);
    await fixture.revoke(["revoked"]);
    for (const name of Object.keys(pairs) as LeafName[]) fixture.write(name, pairs[name]);
    return fixture;
  }

  async revoke(names: readonly LeafName[]): Promise<void> {
    const serials = names.map((name) => this.#pairs[name].serialNumber);
    writeFileSync(this.crlFile, await this.authority.revoke(serials));
  }

  write(name: string, pair: CertificatePair): void {
    writePair(pair, join(this.directory, `${name}.crt`), join(this.directory, `${name}.key`));
  }

  pair(name: LeafName): CertificatePair {
    return this.#pairs[name];
  }

  /** What was written under `name`. */
  read(name: string): { readonly cert: string; readonly key: string } {
    const { certFile, keyFile } = this.files(name);
    return { cert: readFileSync(certFile, "utf8"), key: readFileSync(keyFile, "utf8") };
  }

  files(name: string): { readonly certFile: string; readonly keyFile: string } {
    return {
      certFile: join(this.directory, `${name}.crt`),
      keyFile: join(this.directory, `${name}.key`),
    };
  }

  /** What a server is told: the certificate `name`, and clients are to show theirs. */
  security(name: string, more: Partial<TransportSecurity> = {}): TransportSecurity {
    return {
      ...NO_TRANSPORT_SECURITY,
      ...this.files(name),
      trustedCAFile: this.caFile,
      clientCertAuth: true,
      crlFile: this.crlFile,
      ...more,
    };
  }

  /** Asks for `/health` on a connection of its own. @returns the status, or why there is none */
  health(url: string, leaf?: string, options: RequestOptions = {}): Promise<string> {
    return new Promise((resolve) => {
      const pair = leaf === undefined ? {} : this.read(leaf);
      const ca = readFileSync(this.caFile);
      const request = httpsRequest(new URL("/health", url), {
        ...{ agent: false, ca },
        ...pair,
        ...options,
      });
      request.on("response", (response) => {
        response.resume();
        resolve(String(response.statusCode));
      });
      request.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      request.end();
    });
  }

  remove(): void {
    rmSync(this.directory, { recursive: true });
  }
}

export interface LoggedMember {
  readonly etcd: Etcd;
  readonly logger: MemoryLogger;
  /** The reasons connections were turned away for, in order; those who hung up are none. */
  refusals(endpoint: "client" | "peer"): readonly string[];
}

export async function startLogged(settings: EtcdSettings): Promise<LoggedMember> {
  const logger = new MemoryLogger();
  const etcd = await startEtcd({ ...settings, logger });
  return {
    etcd,
    logger,
    refusals: (endpoint) =>
      logger.events
        .filter(({ level }) => level === "warn")
        .filter(({ message }) => message === `rejected connection on ${endpoint} endpoint`)
        .map(({ fields }) => fields["error"] as string),
  };
}
