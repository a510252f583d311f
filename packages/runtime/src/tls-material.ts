/**
 * Certificates, keys and authorities in files, read anew when the files change.
 *
 * Whoever opens a connection asks for the material first and gets what the files hold now, so that
 * a rotation needs no restart and open connections stay.
 *
 * Invariants:
 * - A certificate is only ever used with its own key: while one of the two files is replaced and
 *   the other is not yet, the last pair that fitted stays in use, and the log says so once.
 * - Messages name files and reasons, never what the files hold.
 */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { EtcdError, NULL_LOGGER } from "@etcd-ts/base";
import type { Logger } from "@etcd-ts/base";

/** A file that cannot be used, and why. */
export class TLSMaterialError extends EtcdError {
  readonly code = "TLS_MATERIAL";
  readonly path: string;

  constructor(message: string, path: string, options?: ErrorOptions) {
    super(message, options);
    this.path = path;
  }
}

export interface TLSFiles {
  /** PEM, the leaf first; with `keyFile` or not at all. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** PEM, any number of authorities. */
  readonly caFile?: string | undefined;
}

/** What `tls.connect` and `tls.createSecureContext` take. */
export interface TLSMaterial {
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: readonly string[];
  /** All certificates in the files, the leaf first. */
  readonly certificates: readonly CertificateInFile[];
}

export interface CertificateInFile {
  readonly path: string;
  readonly certificate: X509Certificate;
}

/** Larger files are no certificates. */
export const TLS_FILE_BYTES_MAX = 1024 * 1024;

export class TLSFileSet {
  readonly #files: TLSFiles;
  readonly #logger: Logger;
  #fingerprint: string;
  #material: TLSMaterial;

  /** Reads the files. @throws {TLSMaterialError} */
  constructor(files: TLSFiles, logger: Logger = NULL_LOGGER) {
    this.#files = files;
    this.#logger = logger;
    this.#fingerprint = fingerprintOf(files);
    this.#material = readMaterial(files);
  }

  /** What the files hold now; the same object as long as they do not change. */
  current(): TLSMaterial {
    const fingerprint = fingerprintOf(this.#files);
    if (fingerprint === this.#fingerprint) return this.#material;
    this.#fingerprint = fingerprint;
    try {
      this.#material = readMaterial(this.#files);
      this.#logger.info("read changed TLS files", pathsOf(this.#files));
    } catch (error) {
      if (!(error instanceof TLSMaterialError)) throw error;
      this.#logger.warn("failed to read changed TLS files; the ones read before stay in use", {
        ...pathsOf(this.#files),
        error: error.message,
      });
    }
    return this.#material;
  }
}

/** @throws {TLSMaterialError} */
export function readMaterial(files: TLSFiles): TLSMaterial {
  const { certFile = "", keyFile = "", caFile = "" } = files;
  if ((certFile === "") !== (keyFile === "")) {
    throw new TLSMaterialError(
      `KeyFile and CertFile must both be present[key: ${keyFile}, cert: ${certFile}]`,
      certFile + keyFile,
    );
  }
  const certificates: CertificateInFile[] = [];
  const pair = certFile === "" ? {} : readPair(certFile, keyFile, certificates);
  if (caFile === "") return { ...pair, certificates };
  const blocks = certificateBlocks(readTLSFile(caFile).toString("latin1"), caFile);
  const ca = blocks.map(({ pem }) => pem);
  for (const { certificate } of blocks) certificates.push({ path: caFile, certificate });
  return { ...pair, ca, certificates };
}

function readPair(
  certFile: string,
  keyFile: string,
  certificates: CertificateInFile[],
): { readonly cert: string; readonly key: string } {
  const cert = readTLSFile(certFile).toString("latin1");
  const key = readTLSFile(keyFile).toString("latin1");
  const blocks = certificateBlocks(cert, certFile);
  const leaf = blocks[0];
  if (leaf === undefined) {
    throw new TLSMaterialError(
      `tls: failed to find any PEM data in certificate input (${certFile})`,
      certFile,
    );
  }
  for (const { certificate } of blocks) certificates.push({ path: certFile, certificate });
  let isPair: boolean;
  try {
    isPair = leaf.certificate.checkPrivateKey(createPrivateKey(key));
  } catch (error) {
    // OpenSSL's reason may quote what it read; the file's name has to do.
    const code = (error as NodeJS.ErrnoException).code ?? "not a key";
    const text = `tls: failed to parse private key (${keyFile}: ${code})`;
    throw new TLSMaterialError(text, keyFile);
  }
  if (!isPair) {
    throw new TLSMaterialError(
      `tls: private key does not match public key (${certFile}, ${keyFile})`,
      keyFile,
    );
  }
  return { cert, key };
}

function certificateBlocks(
  text: string,
  path: string,
): readonly { readonly pem: string; readonly certificate: X509Certificate }[] {
  const pems = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return pems.map((pem) => {
    try {
      return { pem, certificate: new X509Certificate(pem) };
    } catch (error) {
      throw new TLSMaterialError(`x509: malformed certificate (${path})`, path, { cause: error });
    }
  });
}

const REASONS: { readonly [code: string]: string } = {
  ENOENT: "no such file or directory",
  EACCES: "permission denied",
  EISDIR: "is a directory",
};

/** The bytes of a certificate, key or revocation list. @throws {TLSMaterialError} in Go's words */
export function readTLSFile(path: string): Buffer {
  try {
    const { size } = statSync(path);
    if (size > TLS_FILE_BYTES_MAX) {
      throw new TLSMaterialError(
        `open ${path}: larger than ${TLS_FILE_BYTES_MAX} bytes, which no certificate is`,
        path,
      );
    }
    return readFileSync(path);
  } catch (error) {
    if (error instanceof TLSMaterialError) throw error;
    const { code = "", message } = error as NodeJS.ErrnoException;
    const text = `open ${path}: ${REASONS[code] ?? message}`;
    throw new TLSMaterialError(text, path, { cause: error });
  }
}

/** Changes whenever one of the files is written, replaced, or reached by another link. */
function fingerprintOf(files: TLSFiles): string {
  return [files.certFile, files.keyFile, files.caFile].map((path) => fileStamp(path)).join(" ");
}

/** Changes with the file; `-` while there is none. */
export function fileStamp(path: string | undefined): string {
  if (path === undefined || path === "") return "";
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return "-";
  return `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
}

function pathsOf(files: TLSFiles): { readonly [field: string]: string } {
  const { certFile = "", keyFile = "", caFile = "" } = files;
  return { "cert-file": certFile, "key-file": keyFile, "trusted-ca-file": caFile };
}
