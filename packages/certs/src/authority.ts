/**
 * Issues certificates: an authority, the leaves it signs, and the list of those it took back.
 *
 * Keys are elliptic-curve ones unless told otherwise, because they are made in a millisecond.
 */

// The x509 library asks for it when it is loaded.
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import {
  createPrivateKey,
  randomBytes,
  webcrypto,
  X509Certificate as NodeCertificate,
} from "node:crypto";
import { EtcdError } from "@etcd-ts/base";
import { isIP } from "node:net";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  X509CrlGenerator,
} from "@peculiar/x509";
import type { Extension, JsonName } from "@peculiar/x509";

const DAY_MS = 24 * 60 * 60 * 1000;

/** A certificate and its key, PEM. */
export interface CertificatePair {
  readonly cert: string;
  readonly key: string;
  /** Hex, as OpenSSL and Go print it. */
  readonly serialNumber: string;
  readonly notAfter: Date;
}

export interface CertificateRequest {
  readonly commonName?: string;
  readonly organization?: string;
  /** DNS names and IP addresses. */
  readonly hosts?: readonly string[];
  /** What a leaf may be used for. Default both. */
  readonly usages?: readonly ("server" | "client")[];
  readonly notBefore?: Date;
  readonly validityDays?: number;
}

/** Validity of what kubeadm issues. */
export const LEAF_VALIDITY_DAYS = 365;
export const AUTHORITY_VALIDITY_DAYS = 3650;

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const P521 = { name: "ECDSA", namedCurve: "P-521", hash: "SHA-512" } as const;

type KeyAlgorithm = typeof P256 | typeof P521;

/** A certificate and key that cannot issue others. */
export class AuthorityError extends EtcdError {
  readonly code = "AUTHORITY";
}

/** An authority that holds its key in memory. */
export class CertificateAuthority {
  readonly pair: CertificatePair;
  readonly #certificate: X509Certificate;
  readonly #keys: webcrypto.CryptoKeyPair;

  private constructor(
    pair: CertificatePair,
    certificate: X509Certificate,
    keys: webcrypto.CryptoKeyPair,
  ) {
    this.pair = pair;
    this.#certificate = certificate;
    this.#keys = keys;
  }

  static async create(request: CertificateRequest = {}): Promise<CertificateAuthority> {
    const keys = await makeKeys(P256);
    const certificate = await X509CertificateGenerator.createSelfSigned({
      serialNumber: randomSerial(),
      name: nameOf({ commonName: "etcd-ca", ...request }),
      ...validity(request, AUTHORITY_VALIDITY_DAYS),
      keys,
      signingAlgorithm: P256,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(
          KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign | KeyUsageFlags.digitalSignature,
          true,
        ),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return new CertificateAuthority(await pairOf(certificate, keys), certificate, keys);
  }

  /**
   * The authority of a certificate and its key, PEM.
   *
   * @throws {AuthorityError} unless they are a pair, made by `create` or alike (P-256)
   */
  static async open(cert: string, key: string): Promise<CertificateAuthority> {
    try {
      const certificate = new X509Certificate(cert);
      const privateKey = createPrivateKey(key);
      const pkcs8 = privateKey.export({ format: "der", type: "pkcs8" });
      const keys = {
        privateKey: await webcrypto.subtle.importKey("pkcs8", pkcs8, P256, true, ["sign"]),
        publicKey: await certificate.publicKey.export(P256, ["verify"]),
      } as webcrypto.CryptoKeyPair;
      const isPair = new NodeCertificate(cert).checkPrivateKey(privateKey);
      if (!isPair) throw new AuthorityError("the key is not that of the certificate");
      const { serialNumber, notAfter } = certificate;
      return new CertificateAuthority({ cert, key, serialNumber, notAfter }, certificate, keys);
    } catch (error) {
      if (error instanceof AuthorityError) throw error;
      // The reason may quote the key.
      throw new AuthorityError("no authority with a P-256 key that could issue certificates");
    }
  }

  async issue(request: CertificateRequest): Promise<CertificatePair> {
    const keys = await makeKeys(P256);
    const certificate = await X509CertificateGenerator.create({
      serialNumber: randomSerial(),
      subject: nameOf(request),
      issuer: this.#certificate.subject,
      ...validity(request, LEAF_VALIDITY_DAYS),
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: P256,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(
          KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment,
          true,
        ),
        usageExtension(request.usages ?? ["server", "client"]),
        await AuthorityKeyIdentifierExtension.create(this.#keys.publicKey),
        ...altNames(request.hosts),
      ],
    });
    return pairOf(certificate, keys);
  }

  /** A revocation list, DER as etcd reads it. */
  async revoke(serialNumbers: readonly string[], nowMs = Date.now()): Promise<Uint8Array> {
    const list = await X509CrlGenerator.create({
      issuer: this.#certificate.subject,
      thisUpdate: new Date(nowMs),
      nextUpdate: new Date(nowMs + AUTHORITY_VALIDITY_DAYS * DAY_MS),
      entries: serialNumbers.map((serialNumber) => ({
        serialNumber,
        revocationDate: new Date(nowMs),
      })),
      signingAlgorithm: P256,
      signingKey: this.#keys.privateKey,
    });
    return new Uint8Array(list.rawData);
  }
}

export interface SelfSignedRequest {
  readonly hosts: readonly string[];
  readonly usages: readonly ("server" | "client")[];
  readonly validityDays: number;
}

/** A certificate that vouches for itself, as etcd's `--auto-tls` makes it. */
export async function issueSelfSigned(request: SelfSignedRequest): Promise<CertificatePair> {
  const keys = await makeKeys(P521);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerial(),
    name: nameOf({ organization: "etcd" }),
    ...validity(request, request.validityDays),
    keys,
    signingAlgorithm: P521,
    extensions: [
      new KeyUsagesExtension(
        KeyUsageFlags.keyEncipherment | KeyUsageFlags.digitalSignature | KeyUsageFlags.cRLSign,
        true,
      ),
      usageExtension(request.usages),
      new BasicConstraintsExtension(true, undefined, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...altNames(request.hosts),
    ],
  });
  return pairOf(certificate, keys);
}

function makeKeys(algorithm: KeyAlgorithm): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

async function pairOf(
  certificate: X509Certificate,
  keys: webcrypto.CryptoKeyPair,
): Promise<CertificatePair> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  return {
    cert: `${certificate.toString("pem")}\n`,
    key: String(key.export({ format: "pem", type: "sec1" })),
    serialNumber: certificate.serialNumber,
    notAfter: certificate.notAfter,
  };
}

function usageExtension(usages: readonly ("server" | "client")[]): Extension {
  return new ExtendedKeyUsageExtension(
    usages.map((usage) =>
      usage === "server" ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth,
    ),
  );
}

function altNames(hosts: readonly string[] = []): Extension[] {
  if (hosts.length === 0) return [];
  return [
    new SubjectAlternativeNameExtension(
      hosts.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value })),
    ),
  ];
}

function nameOf({ commonName, organization }: CertificateRequest): JsonName {
  const name: JsonName = [];
  if (organization !== undefined) name.push({ O: [organization] });
  if (commonName !== undefined) name.push({ CN: [commonName] });
  return name;
}

function validity(
  request: CertificateRequest,
  daysDefault: number,
): { notBefore: Date; notAfter: Date } {
  // A minute of leave for clocks that differ, unless a time was asked for.
  const notBefore = request.notBefore ?? new Date(Date.now() - 60_000);
  const days = request.validityDays ?? daysDefault;
  return { notBefore, notAfter: new Date(notBefore.getTime() + days * DAY_MS) };
}

/** 127 bits, positive and without a leading zero byte, so that all print it alike. */
function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString("hex");
}
