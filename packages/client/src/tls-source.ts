/** The client's certificates: PEM texts as they were given, files as they are at each dial. */

import { createSecureContext } from "node:tls";
import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import { EtcdError } from "@etcd-ts/base";
import type { ClientTLSOptions } from "@etcd-ts/rpc";

import type { TlsOptions } from "./options.ts";

/** The `code` of failures that lie in the client's own certificates or keys. */
export const TLS_MATERIAL = "TLS_MATERIAL";

/** @returns what to dial with, asked at each dial. @throws {RpcError} TLS_MATERIAL */
export async function tlsSource(options: TlsOptions): Promise<() => ClientTLSOptions> {
  const { caFile = "", certFile = "", keyFile = "" } = options;
  const { cert, key } = options;
  if ((cert === undefined) !== (key === undefined)) {
    const text = "tls: a certificate and its key must both be given";
    throw new RpcError(TLS_MATERIAL, GRPC_CODES.UNAVAILABLE, text);
  }
  const given: ClientTLSOptions = {
    ...(options.ca === undefined ? {} : { ca: textOf(options.ca) }),
    ...(cert === undefined ? {} : { cert: textOf(cert) }),
    ...(key === undefined ? {} : { key: textOf(key) }),
    ...(options.serverName === undefined ? {} : { serverName: options.serverName }),
    insecureSkipVerify: options.insecureSkipVerify === true,
  };
  checkTexts(given);
  if (caFile === "" && certFile === "" && keyFile === "") return () => given;
  // Programs without certificates in files do without what reads them.
  const { TLSFileSet } = await import("@etcd-ts/runtime");
  try {
    const files = new TLSFileSet({ caFile, certFile, keyFile });
    return () => {
      const { certificates: _, ...material } = files.current();
      return { ...material, ...given };
    };
  } catch (cause) {
    if (!(cause instanceof EtcdError)) throw cause;
    throw new RpcError(TLS_MATERIAL, GRPC_CODES.UNAVAILABLE, cause.message, { cause });
  }
}

/** Reads everything once. @throws {RpcError} TLS_MATERIAL if the client could not use it */
export async function checkTlsOptions(options: TlsOptions): Promise<void> {
  await tlsSource(options);
}

function checkTexts({ ca, cert, key }: ClientTLSOptions): void {
  if (ca === undefined && cert === undefined) return;
  try {
    createSecureContext({
      ...(ca === undefined ? {} : { ca: typeof ca === "string" ? ca : [...ca] }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    });
  } catch (cause) {
    // OpenSSL's text may quote what it read; its code does not.
    const code = (cause as NodeJS.ErrnoException).code ?? "no PEM";
    const text = `tls: the certificates given cannot be used (${code})`;
    throw new RpcError(TLS_MATERIAL, GRPC_CODES.UNAVAILABLE, text);
  }
}

function textOf(pem: string | Uint8Array): string {
  return typeof pem === "string" ? pem : Buffer.from(pem).toString("latin1");
}
