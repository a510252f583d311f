/** `--auto-tls` and `--peer-auto-tls`: a certificate of our own making, kept in the data directory. */

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Logger } from "@etcd-ts/base";
import { issueSelfSigned, writePair } from "@etcd-ts/certs";
import { ConfigError } from "../listen-url.ts";
import type { ListenURL } from "../listen-url.ts";
import { hasCertificate } from "./transport-security.ts";
import type { TransportSecurity } from "./transport-security.ts";

const DAYS_PER_YEAR = 365;

export interface AutoTLSOptions {
  readonly side: "client" | "peer";
  readonly dataDir: string;
  /** The certificate is good for their hosts. */
  readonly urls: readonly ListenURL[];
  readonly validityYears: number;
  readonly logger: Logger;
}

/** `security` with a pair, made now unless the data directory has one. @throws {ConfigError} */
export async function withAutoTLS(
  security: TransportSecurity,
  options: AutoTLSOptions,
): Promise<TransportSecurity> {
  const { side, dataDir, urls, validityYears, logger } = options;
  if (!security.autoTLS) return security;
  if (hasCertificate(security)) {
    logger.warn(`ignoring ${side} auto TLS since certs given`);
    return security;
  }
  if (side === "peer" && (security.clientCertAuth || security.trustedCAFile !== "")) {
    throw new ConfigError(
      "--peer-auto-tls makes certificates that no authority has signed; --peer-client-cert-auth and --peer-trusted-ca-file would refuse every member",
    );
  }
  if (validityYears <= 0) {
    throw new ConfigError("selfSignedCertValidity is invalid,it should be greater than 0");
  }
  const directory = resolve(join(dataDir, "fixtures", side));
  const certFile = join(directory, "cert.pem");
  const keyFile = join(directory, "key.pem");
  if (!existsSync(certFile) || !existsSync(keyFile)) {
    const hosts = urls.map(({ host, address }) =>
      address.kind === "unix" ? host.replace(/:.*/, "") : host,
    );
    const pair = await issueSelfSigned({
      hosts: [...new Set(hosts.filter((host) => host !== ""))],
      usages: ["server"],
      validityDays: validityYears * DAYS_PER_YEAR,
    });
    logger.warn("automatically generate certificates", {
      "certificate-validity-bound-not-after": pair.notAfter.toISOString(),
    });
    writePair(pair, certFile, keyFile);
    logger.info("created cert file", { path: certFile });
    logger.info("created key file", { path: keyFile });
  }
  return {
    ...security,
    certFile,
    keyFile,
    clientCertFile: certFile,
    clientKeyFile: keyFile,
    isSelfSigned: true,
  };
}
