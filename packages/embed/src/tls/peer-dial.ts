/**
 * Connections to peers over TLS: this member's certificate is shown, theirs is checked against the
 * trusted authorities and the host that was dialled.
 */

import { connect } from "node:tls";
import type { TLSSocket } from "node:tls";
import { isIP } from "node:net";
import { NetworkError } from "@etcd-ts/base";
import type { Logger } from "@etcd-ts/base";
import { tlsConnectionOptions, tlsErrorText } from "@etcd-ts/rpc";
import { TLSFileSet } from "@etcd-ts/runtime";
import { dialPlain } from "../rafthttp/index.ts";
import type { Dial } from "../rafthttp/index.ts";
import { checkAllowedNames } from "./certificate-checks.ts";
import { isSecure } from "./transport-security.ts";
import type { TLSProtocol, TransportSecurity } from "./transport-security.ts";

export interface PeerDialOptions {
  readonly security: TransportSecurity;
  readonly protocol: TLSProtocol;
  /** What certificates of members must name instead of the host that is dialled. */
  readonly serverName?: string | undefined;
  readonly logger: Logger;
}

/** A `Dial` for all schemes. @throws {TLSMaterialError} for files that cannot be used */
export function peerDial(options: PeerDialOptions): Dial {
  const { security, protocol, serverName, logger } = options;
  const hasClientPair = security.clientCertFile !== "";
  const files = new TLSFileSet(
    {
      certFile: hasClientPair ? security.clientCertFile : security.certFile,
      keyFile: hasClientPair ? security.clientKeyFile : security.keyFile,
      caFile: security.trustedCAFile,
    },
    logger,
  );
  return async (url, dialOptions) => {
    const { timeoutMs } = dialOptions;
    // The same socket, so that there is one way to connect and one set of errors.
    const plain = await dialPlain(
      isSecure(url) ? { ...url, scheme: url.scheme === "https" ? "http" : "unix" } : url,
      dialOptions,
    );
    if (!isSecure(url)) return plain;
    const { cert, key, ca } = files.current();
    const socket = connect({
      socket: plain,
      ...(isIP(url.host) === 0 && url.host !== "" ? { servername: url.host } : {}),
      ...(isIP(url.host) === 0 ? {} : { host: url.host }),
      ...tlsConnectionOptions({
        cert,
        key,
        ca,
        ...protocol,
        serverName,
        insecureSkipVerify: security.isSelfSigned,
        // Peers speak HTTP/1.1; h2 must not be chosen.
        alpnProtocols: ["http/1.1"],
      }),
    });
    await secured(socket, `dial tcp ${url.host}:${url.port}`, timeoutMs);
    const certificate = socket.getPeerX509Certificate();
    const refusal =
      certificate === undefined ? undefined : checkAllowedNames(certificate, security);
    if (refusal === undefined) return socket;
    socket.destroy();
    throw new NetworkError("IO", refusal);
  };
}

function secured(socket: TLSSocket, text: string, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new NetworkError("TIMED_OUT", `${text}: TLS handshake timeout`));
    }, timeoutMs);
    const fail = (error: NodeJS.ErrnoException): void => {
      clearTimeout(timer);
      socket.destroy();
      const code = error.code === "ECONNRESET" ? "RESET" : "IO";
      reject(new NetworkError(code, `${text}: ${tlsErrorText(error)}`, { cause: error }));
    };
    socket.once("error", fail);
    socket.once("secureConnect", () => {
      clearTimeout(timer);
      socket.off("error", fail);
      resolve();
    });
  });
}
