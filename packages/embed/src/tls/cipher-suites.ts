/** `--cipher-suites`: Go's names of cipher suites, and what OpenSSL calls them. */

import { getCiphers } from "node:tls";
import { ConfigError } from "../listen-url.ts";

/** Suites of TLS 1.2 that Go knows, weak ones included; undefined for those OpenSSL has dropped. */
const OPENSSL_NAMES: { readonly [goName: string]: string | undefined } = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: "ECDHE-ECDSA-AES128-GCM-SHA256",
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: "ECDHE-RSA-AES128-GCM-SHA256",
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: "ECDHE-ECDSA-AES256-GCM-SHA384",
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: "ECDHE-RSA-AES256-GCM-SHA384",
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-RSA-CHACHA20-POLY1305",
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: "ECDHE-ECDSA-CHACHA20-POLY1305",
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: "ECDHE-RSA-CHACHA20-POLY1305",
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: "ECDHE-ECDSA-AES128-SHA",
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: "ECDHE-RSA-AES128-SHA",
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: "ECDHE-ECDSA-AES256-SHA",
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: "ECDHE-RSA-AES256-SHA",
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: "ECDHE-ECDSA-AES128-SHA256",
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256: "ECDHE-RSA-AES128-SHA256",
  TLS_RSA_WITH_AES_128_GCM_SHA256: "AES128-GCM-SHA256",
  TLS_RSA_WITH_AES_256_GCM_SHA384: "AES256-GCM-SHA384",
  TLS_RSA_WITH_AES_128_CBC_SHA256: "AES128-SHA256",
  TLS_RSA_WITH_AES_128_CBC_SHA: "AES128-SHA",
  TLS_RSA_WITH_AES_256_CBC_SHA: "AES256-SHA",
  TLS_RSA_WITH_3DES_EDE_CBC_SHA: "DES-CBC3-SHA",
  TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA: "ECDHE-RSA-DES-CBC3-SHA",
  TLS_RSA_WITH_RC4_128_SHA: "RC4-SHA",
  TLS_ECDHE_RSA_WITH_RC4_128_SHA: "ECDHE-RSA-RC4-SHA",
  TLS_ECDHE_ECDSA_WITH_RC4_128_SHA: "ECDHE-ECDSA-RC4-SHA",
};

/** Suites of TLS 1.3, which Go and OpenSSL name alike. As in Go, no flag turns one off. */
const TLS_1_3_SUITES: readonly string[] = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
];

/** What Go offers when nothing is configured: key exchange that keeps the past secret. */
const DEFAULT_SUITES: readonly string[] = Object.keys(OPENSSL_NAMES).slice(0, 12);

/** OpenSSL's cipher list for Go's names; none for the default. @throws {ConfigError} */
export function opensslCiphers(goNames: readonly string[]): string {
  const available = new Set(getCiphers().map((name) => name.toUpperCase()));
  const names = goNames.length === 0 ? DEFAULT_SUITES : goNames;
  const chosen = new Set<string>(TLS_1_3_SUITES);
  for (const goName of names) {
    if (TLS_1_3_SUITES.includes(goName)) continue;
    const name = OPENSSL_NAMES[goName];
    if (name === undefined) {
      throw new ConfigError(`unexpected TLS cipher suite ${JSON.stringify(goName)}`);
    }
    if (!available.has(name)) {
      throw new ConfigError(`TLS cipher suite ${goName} is too weak for the OpenSSL of this Node`);
    }
    chosen.add(name);
  }
  return [...chosen].join(":");
}
