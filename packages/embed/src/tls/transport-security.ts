/** What one side of a member, towards clients or towards peers, is told about TLS. */

import { ConfigError } from "../listen-url.ts";
import type { ListenURL } from "../listen-url.ts";
import { opensslCiphers } from "./cipher-suites.ts";

/** Paths are empty where nothing was given. */
export interface TransportSecurity {
  readonly certFile: string;
  readonly keyFile: string;
  /** Presented where this member is the client; default the server's pair. */
  readonly clientCertFile: string;
  readonly clientKeyFile: string;
  readonly trustedCAFile: string;
  /** Takes clients with a verified certificate only, and lets their common name be a user. */
  readonly clientCertAuth: boolean;
  /** A revocation list, DER. */
  readonly crlFile: string;
  readonly allowedCNs: readonly string[];
  readonly allowedHostnames: readonly string[];
  readonly skipClientSANVerification: boolean;
  /** Makes a certificate for itself if none is given. */
  readonly autoTLS: boolean;
  /** The pair was made by `autoTLS`: nobody vouches for it, so nobody is asked. */
  readonly isSelfSigned: boolean;
}

export const NO_TRANSPORT_SECURITY: TransportSecurity = {
  certFile: "",
  keyFile: "",
  clientCertFile: "",
  clientKeyFile: "",
  trustedCAFile: "",
  clientCertAuth: false,
  crlFile: "",
  allowedCNs: [],
  allowedHostnames: [],
  skipClientSANVerification: false,
  autoTLS: false,
  isSelfSigned: false,
};

/** `--tls-min-version` and its like, for both sides. */
export interface TLSProtocol {
  readonly minVersion: TLSVersion;
  readonly maxVersion: TLSVersion | undefined;
  /** OpenSSL's cipher list. */
  readonly ciphers: string;
}

export type TLSVersion = "TLSv1.2" | "TLSv1.3";

export interface TLSProtocolSettings {
  readonly tlsMinVersion: string;
  readonly tlsMaxVersion: string;
  readonly cipherSuites: readonly string[];
}

/** @throws {ConfigError} with etcd's text */
export function tlsProtocol(settings: TLSProtocolSettings): TLSProtocol {
  const minVersion = tlsVersion(settings.tlsMinVersion);
  const maxVersion = tlsVersion(settings.tlsMaxVersion);
  if (maxVersion !== undefined && minVersion !== undefined && minVersion > maxVersion) {
    throw new ConfigError(
      `min version (${settings.tlsMinVersion}) is greater than max version (${settings.tlsMaxVersion})`,
    );
  }
  if (minVersion === "TLSv1.3" && settings.cipherSuites.length > 0) {
    throw new ConfigError("cipher suites cannot be configured when only TLS1.3 is enabled");
  }
  const ciphers = opensslCiphers(settings.cipherSuites);
  return { minVersion: minVersion ?? "TLSv1.2", maxVersion, ciphers };
}

function tlsVersion(text: string): TLSVersion | undefined {
  if (text === "") return undefined;
  if (text === "TLS1.2") return "TLSv1.2";
  if (text === "TLS1.3") return "TLSv1.3";
  throw new ConfigError(
    `unexpected TLS version ${JSON.stringify(text)} (must be one of: TLS1.2, TLS1.3)`,
  );
}

export function isSecure(url: ListenURL): boolean {
  return url.scheme === "https" || url.scheme === "unixs";
}

export function hasCertificate(security: TransportSecurity): boolean {
  return security.certFile !== "" || security.keyFile !== "";
}

/** Refuses lists that contradict each other. @throws {ConfigError} with etcd's text */
export function checkTransportSecurity(security: TransportSecurity): void {
  const { allowedCNs, allowedHostnames } = security;
  if (allowedCNs.length > 0 && allowedHostnames.length > 0) {
    const quoted = (names: readonly string[]): string =>
      `[${names.map((name) => JSON.stringify(name)).join(" ")}]`;
    throw new ConfigError(
      `AllowedCNs and AllowedHostnames are mutually exclusive (cns=${quoted(allowedCNs)}, hostnames=${quoted(allowedHostnames)})`,
    );
  }
  if ((security.clientKeyFile === "") !== (security.clientCertFile === "")) {
    throw new ConfigError(
      `ClientKeyFile and ClientCertFile must both be present or both absent: key: ${security.clientKeyFile}, cert: ${security.clientCertFile}]`,
    );
  }
}
