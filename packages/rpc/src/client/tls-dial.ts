/**
 * TLS connections to a server, as gRPC wants them: HTTP/2 negotiated, the server's name checked.
 *
 * Invariants: the promise settles within `timeoutMs`; a socket that is not handed over is destroyed.
 */

import * as net from "node:net";
import * as tls from "node:tls";

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { NetworkAddress } from "@etcd-ts/base";

import { tlsErrorText } from "../tls-errors.ts";

export interface ClientTLSOptions {
  /** PEM: whom to trust; the authorities Node brings if left out. */
  readonly ca?: string | readonly string[] | undefined;
  /** PEM: the client's own certificate and key; both or none. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Checked in the server's certificate instead of the host that was dialled. */
  readonly serverName?: string | undefined;
  /** Accepts any certificate. */
  readonly insecureSkipVerify?: boolean | undefined;
  /** Default `TLSv1.2`. */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined;
  readonly maxVersion?: "TLSv1.2" | "TLSv1.3" | undefined;
  /** OpenSSL's names, between colons. */
  readonly ciphers?: string | undefined;
  /** Default `["h2"]`. */
  readonly alpnProtocols?: readonly string[] | undefined;
}

/** What `tls.connect` takes for `options`. */
export function tlsConnectionOptions(options: ClientTLSOptions): tls.ConnectionOptions {
  const { ca, cert, key, serverName, ciphers, minVersion, maxVersion, alpnProtocols } = options;
  return {
    // A certificate in the trusted file is trusted, root or not, as Go has it.
    ...{ allowPartialTrustChain: true },
    ALPNProtocols: [...(alpnProtocols ?? ["h2"])],
    minVersion: minVersion ?? "TLSv1.2",
    rejectUnauthorized: options.insecureSkipVerify !== true,
    ...(maxVersion === undefined ? {} : { maxVersion }),
    ...(ciphers === undefined ? {} : { ciphers }),
    ...(ca === undefined ? {} : { ca: typeof ca === "string" ? ca : [...ca] }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined || serverName === "" ? {} : serverNameOptions(serverName)),
  };
}

/** An IP cannot be asked for by SNI, but it can be checked. */
function serverNameOptions(serverName: string): tls.ConnectionOptions {
  return {
    ...(net.isIP(serverName) === 0 ? { servername: serverName } : {}),
    checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(serverName, certificate),
  };
}

/** @throws {RpcError} UNAVAILABLE, in grpc-go's words */
export function dialTLS(
  address: NetworkAddress,
  options: ClientTLSOptions,
  timeoutMs: number,
): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const where =
      address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port };
    const sni =
      address.kind === "tcp" && net.isIP(address.host) === 0 ? { servername: address.host } : {};
    const socket = tls.connect({ ...where, ...sni, ...tlsConnectionOptions(options) });
    let isConnected = false;
    const fail = (text: string): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new RpcError("UNAVAILABLE", GRPC_CODES.UNAVAILABLE, text));
    };
    const timer = setTimeout(() => fail("connection error: i/o timeout"), timeoutMs);
    socket.once("connect", () => {
      isConnected = true;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      fail(
        isConnected
          ? `connection error: desc = "transport: authentication handshake failed: ${tlsErrorText(error)}"`
          : `connection error: desc = "transport: Error while dialing: ${error.message}"`,
      );
    });
    socket.once("secureConnect", () => {
      clearTimeout(timer);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}
