/** Failures of TLS in Go's words, which is what operators search for. */

import type { X509Certificate } from "node:crypto";

const ALERTS: { readonly [name: string]: string } = {
  BAD_CERTIFICATE: "bad certificate",
  CERTIFICATE_EXPIRED: "expired certificate",
  CERTIFICATE_REVOKED: "revoked certificate",
  CERTIFICATE_UNKNOWN: "unknown certificate",
  UNSUPPORTED_CERTIFICATE: "unsupported certificate",
  UNKNOWN_CA: "unknown certificate authority",
  CERTIFICATE_REQUIRED: "certificate required",
  PROTOCOL_VERSION: "protocol version not supported",
  HANDSHAKE_FAILURE: "handshake failure",
  INTERNAL_ERROR: "internal error",
  NO_APPLICATION_PROTOCOL: "no application protocol",
  ACCESS_DENIED: "access denied",
  DECRYPT_ERROR: "error decrypting message",
};

const UNKNOWN_AUTHORITY = "x509: certificate signed by unknown authority";

const VERIFICATION: { readonly [code: string]: string } = {
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  CERT_SIGNATURE_FAILURE: UNKNOWN_AUTHORITY,
  CERT_UNTRUSTED: UNKNOWN_AUTHORITY,
  CERT_HAS_EXPIRED: "x509: certificate has expired or is not yet valid",
  CERT_NOT_YET_VALID: "x509: certificate has expired or is not yet valid",
  INVALID_CA: "x509: invalid certificate authority",
  PATH_LENGTH_EXCEEDED: "x509: too many intermediates for path length constraint",
  INVALID_PURPOSE: "x509: certificate specifies an incompatible key usage",
};

const FAILURES: { readonly [code: string]: string } = {
  ERR_SSL_WRONG_VERSION_NUMBER: "tls: first record does not look like a TLS handshake",
  ERR_SSL_HTTP_REQUEST: "tls: first record does not look like a TLS handshake",
  ERR_SSL_HTTPS_PROXY_REQUEST: "tls: first record does not look like a TLS handshake",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "tls: client offered only unsupported versions",
  ERR_SSL_VERSION_TOO_LOW: "tls: client offered only unsupported versions",
  ERR_SSL_NO_APPLICATION_PROTOCOL: "tls: client requested unsupported application protocols",
  ERR_SSL_NO_SHARED_CIPHER: "tls: no cipher suite supported by both client and server",
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: "tls: client didn't provide a certificate",
  ERR_TLS_HANDSHAKE_TIMEOUT: "i/o timeout",
  ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM:
    "tls: peer doesn't support any of the certificate's signature algorithms",
  ECONNRESET: "EOF",
};

/** A certificate that was refused; `code` as Node names it in `authorizationError`. */
export function verificationText(code: string): string {
  return `tls: failed to verify certificate: ${VERIFICATION[code] ?? `x509: ${code}`}`;
}

/** Any failure of a handshake or of a connection after it. */
export function tlsErrorText(error: NodeJS.ErrnoException): string {
  const { code = "" } = error;
  const alert = /_ALERT_([A-Z_]+)$/.exec(code)?.[1];
  if (alert !== undefined) {
    return `remote error: tls: ${ALERTS[alert] ?? alert.toLowerCase().replaceAll("_", " ")}`;
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return wrongNameText(error);
  if (VERIFICATION[code] !== undefined) return verificationText(code);
  return FAILURES[code] ?? error.message;
}

/** Node's error carries the host it asked for and the certificate it got. */
function wrongNameText(error: NodeJS.ErrnoException & { host?: string; cert?: unknown }): string {
  const { host = "", cert } = error;
  const names = (cert as { readonly subjectaltname?: string } | undefined)?.subjectaltname;
  const prefix = "tls: failed to verify certificate: x509: ";
  const isIP = host.includes(":") || /^\d+(\.\d+){3}$/.test(host);
  const { addresses, hosts } = splitAltNames(names);
  if (isIP && addresses.length === 0) {
    return `${prefix}cannot validate certificate for ${host} because it doesn't contain any IP SANs`;
  }
  const valid = isIP ? addresses : hosts;
  if (valid.length === 0) {
    return `${prefix}certificate is not valid for any names, but wanted to match ${host}`;
  }
  return `${prefix}certificate is valid for ${valid.join(", ")}, not ${host}`;
}

/** Subject alternative names by kind. */
export interface AltNames {
  readonly addresses: readonly string[];
  readonly hosts: readonly string[];
}

export function altNamesOf(certificate: X509Certificate): AltNames {
  return splitAltNames(certificate.subjectAltName);
}

/** Of Node's text: `DNS:a, IP Address:1.2.3.4`, in quotes where a name holds a comma. */
function splitAltNames(text = ""): AltNames {
  const addresses: string[] = [];
  const hosts: string[] = [];
  for (const [, kind, quoted, plain = ""] of text.matchAll(
    /(?:^|, )([A-Za-z ]+):(?:"((?:[^"\\]|\\.)*)"|([^,]*))/g,
  )) {
    const value = quoted ?? plain;
    if (kind === "DNS") hosts.push(value);
    else if (kind === "IP Address") addresses.push(value);
  }
  return { addresses, hosts };
}
