/** Certificate revocation lists, as far as servers need them: which serial numbers are taken back. */

// The x509 library asks for it when it is loaded.
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import { EtcdError } from "@etcd-ts/base";
import { X509Crl } from "@peculiar/x509";

/** Bytes that are no revocation list. */
export class RevocationListError extends EtcdError {
  readonly code = "REVOCATION_LIST";
}

/**
 * Serial numbers in upper-case hex without leading zeros, as Node prints a certificate's.
 *
 * @param der - as etcd wants it, not PEM
 * @throws {RevocationListError}
 */
export function readRevokedSerials(der: Uint8Array): ReadonlySet<string> {
  try {
    const list = new X509Crl(Uint8Array.from(der).buffer);
    return new Set(list.entries.map(({ serialNumber }) => canonicalSerial(serialNumber)));
  } catch (error) {
    throw new RevocationListError("x509: malformed crl", { cause: error });
  }
}

/** One spelling for a serial number, however many zeros it came with. */
export function canonicalSerial(hex: string): string {
  return hex.replace(/^0+(?=.)/, "").toUpperCase();
}
