/** Certificates and keys as files: keys for their owner's eyes only, directories closed to others. */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { CertificateAuthority } from "./authority.ts";
import type { CertificatePair } from "./authority.ts";

/** Replaces both files, each in one step, so that nobody reads half of one. */
export function writePair(pair: CertificatePair, certPath: string, keyPath: string): void {
  writeWhole(certPath, pair.cert, 0o644);
  writeWhole(keyPath, pair.key, 0o600);
}

export function writeWhole(path: string, content: string | Uint8Array, mode: number): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.tmp`;
  writeFileSync(temporary, content, { mode });
  renameSync(temporary, path);
}

/** The authority in these files, made now if neither exists. @throws {AuthorityError} */
export async function openAuthority(
  certPath: string,
  keyPath: string,
): Promise<CertificateAuthority> {
  if (existsSync(certPath) || existsSync(keyPath)) {
    return CertificateAuthority.open(readFileSync(certPath, "utf8"), readFileSync(keyPath, "utf8"));
  }
  const authority = await CertificateAuthority.create();
  writePair(authority.pair, certPath, keyPath);
  return authority;
}
