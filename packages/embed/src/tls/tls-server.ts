/**
 * The TLS end of one listener: handshakes, what they must prove, and why they were refused.
 *
 * Invariants:
 * - Each connection is judged by what the files hold when it comes; no session is resumed, so that
 *   a revoked or expired certificate has no second door.
 * - At most `PENDING_HANDSHAKES_MAX` handshakes are under way; beyond that the oldest gives way,
 *   because an honest one takes milliseconds. Neither the hello nor the rest of one takes longer
 *   than `handshakeTimeoutMs`, and a few are begun in each turn.
 * - Nobody is handed over before every check has passed.
 */

import { constants } from "node:crypto";
import type { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { Server } from "node:tls";
import type { TlsOptions, TLSSocket } from "node:tls";
import { invariant } from "@etcd-ts/base";
import type { Logger } from "@etcd-ts/base";
import { altNamesOf, tlsErrorText, verificationText } from "@etcd-ts/rpc";
import type { TLSFileSet, TLSMaterial } from "@etcd-ts/runtime";
import {
  checkAllowedNames,
  checkRemoteAddress,
  commonNameOf,
  RevocationFile,
} from "./certificate-checks.ts";
import { HelloQueue } from "./hello-queue.ts";
import { remoteAddressOf } from "./remote-address.ts";
import type { TLSProtocol, TransportSecurity } from "./transport-security.ts";

export const TLS_HANDSHAKE_TIMEOUT_MS = 10_000;
export const PENDING_HANDSHAKES_MAX = 1024;

interface Pending {
  /** Where it comes from; a socket that has broken no longer tells. */
  readonly remote: string;
  readonly accept: SecureAccept;
}

export interface TLSServerOptions {
  readonly files: TLSFileSet;
  readonly security: TransportSecurity;
  readonly protocol: TLSProtocol;
  readonly logger: Logger;
  /** `client` or `peer`: the word in the log. */
  readonly endpoint: "client" | "peer";
  /** Protocols of the application, the preferred one first. */
  readonly alpn: readonly string[];
  /** Whether certificates must name the address they come from. */
  readonly checksRemoteAddress: boolean;
  readonly handshakeTimeoutMs?: number;
  readonly pendingHandshakesMax?: number;
}

/** `commonName` is set only where certificates identify users. */
export type SecureAccept = (socket: TLSSocket, commonName: string | undefined) => void;

export class TLSServer {
  readonly #options: TLSServerOptions;
  readonly #server: Server;
  readonly #requiresCertificate: boolean;
  readonly #revocations: RevocationFile | undefined;
  readonly #hellos: HelloQueue;
  /** Handshakes under way, in the order they began. */
  readonly #pending = new Set<Socket>();
  readonly #about = new WeakMap<Socket, Pending>();
  #material: TLSMaterial;

  /** @throws TypeError or Node's error for material OpenSSL does not take */
  constructor(options: TLSServerOptions) {
    const { security, files } = options;
    this.#options = options;
    this.#requiresCertificate = security.trustedCAFile !== "" || security.clientCertAuth;
    this.#revocations = security.crlFile === "" ? undefined : new RevocationFile(security.crlFile);
    this.#material = files.current();
    this.#hellos = new HelloQueue({
      timeoutMs: options.handshakeTimeoutMs ?? TLS_HANDSHAKE_TIMEOUT_MS,
      start: (socket) => {
        this.#refresh();
        this.#server.emit("connection", socket);
      },
      giveUp: (socket, reason) => this.#log(this.#settle(socket), "", reason),
    });
    this.#server = new Server({
      ...this.#contextOptions(this.#material),
      requestCert: this.#requiresCertificate,
      rejectUnauthorized: this.#requiresCertificate,
      handshakeTimeout: options.handshakeTimeoutMs ?? TLS_HANDSHAKE_TIMEOUT_MS,
      ALPNCallback: ({ protocols }) => this.#chooseProtocol(protocols),
    });
    this.#server.on("secureConnection", (socket: TLSSocket) => this.#secured(socket));
    this.#server.on("tlsClientError", (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      // Set where the chain was refused, of which Node tells no more than that it ended.
      const code = socket.authorizationError as unknown as string | null | undefined;
      const text = typeof code === "string" ? verificationText(code) : tlsErrorText(error);
      this.#refuse(socket, text);
    });
  }

  /** Takes a connection whose next bytes should be a TLS handshake. */
  handshake(socket: Socket, accept: SecureAccept): void {
    if (this.#pending.size >= (this.#options.pendingHandshakesMax ?? PENDING_HANDSHAKES_MAX)) {
      const [oldest] = this.#pending;
      oldest?.destroy();
      this.#pending.delete(oldest!);
    }
    this.#pending.add(socket);
    this.#about.set(socket, { remote: remoteAddressOf(socket), accept });
    socket.once("close", () => this.#pending.delete(socket));
    socket.on("error", () => socket.destroy());
    this.#hellos.add(socket);
  }

  close(): void {
    this.#hellos.close();
    for (const socket of this.#pending) socket.destroy();
    this.#pending.clear();
  }

  #refresh(): void {
    const material = this.#options.files.current();
    if (material === this.#material) return;
    this.#material = material;
    this.#server.setSecureContext(this.#contextOptions(material));
  }

  #contextOptions(material: TLSMaterial): TlsOptions {
    const { protocol } = this.#options;
    return {
      ...{ allowPartialTrustChain: true },
      minVersion: protocol.minVersion,
      ...(protocol.maxVersion === undefined ? {} : { maxVersion: protocol.maxVersion }),
      ciphers: protocol.ciphers,
      secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
      ...(material.cert === undefined ? {} : { cert: material.cert }),
      ...(material.key === undefined ? {} : { key: material.key }),
      ...(material.ca === undefined ? {} : { ca: [...material.ca] }),
    };
  }

  /** Without an overlap the handshake fails; `http/1.1` is let in as Go's servers do. */
  #chooseProtocol(offered: readonly string[]): string | undefined {
    return [...this.#options.alpn, "http/1.1"].find((protocol) => offered.includes(protocol));
  }

  #secured(socket: TLSSocket): void {
    socket.on("error", () => socket.destroy());
    const leaf = this.#requiresCertificate ? socket.getPeerX509Certificate() : undefined;
    if (leaf === undefined) {
      this.#handOver(socket, undefined);
      return;
    }
    const refusal =
      checkAllowedNames(leaf, this.#options.security) ?? this.#revocations?.check(leaf);
    if (refusal !== undefined) {
      this.#refuse(socket, refusal, leaf);
      return;
    }
    const { remoteAddress } = socket;
    if (!this.#options.checksRemoteAddress || remoteAddress === undefined) {
      this.#handOver(socket, leaf);
      return;
    }
    const timeoutMs = this.#options.handshakeTimeoutMs ?? TLS_HANDSHAKE_TIMEOUT_MS;
    const timer = setTimeout(() => this.#refuse(socket, "i/o timeout", leaf), timeoutMs);
    checkRemoteAddress(leaf, remoteAddress.replace(/^::ffff:/, ""))
      .catch((error: unknown) => String(error))
      .then(
        (reason) => {
          clearTimeout(timer);
          if (socket.destroyed) return;
          if (reason === undefined) this.#handOver(socket, leaf);
          else this.#refuse(socket, reason, leaf);
        },
        () => socket.destroy(),
      );
  }

  /** The handshake is over. */
  #settle(raw: Socket): Pending {
    const about = this.#about.get(raw);
    invariant(about !== undefined, () => "TLSServer: a handshake nobody began");
    this.#pending.delete(raw);
    return about;
  }

  #handOver(socket: TLSSocket, leaf: X509Certificate | undefined): void {
    const { accept } = this.#settle(rawSocketOf(socket));
    const isUser = leaf !== undefined && this.#options.security.clientCertAuth;
    const commonName = isUser ? commonNameOf(leaf) : "";
    accept(socket, commonName === "" ? undefined : commonName);
  }

  #refuse(socket: TLSSocket, error: string, leaf?: X509Certificate): void {
    const about = this.#settle(rawSocketOf(socket));
    socket.destroy();
    const serverName = (socket as { readonly servername?: string | false }).servername;
    this.#log(about, typeof serverName === "string" ? serverName : "", error, leaf);
  }

  #log({ remote }: Pending, serverName: string, error: string, leaf?: X509Certificate): void {
    const message = `rejected connection on ${this.#options.endpoint} endpoint`;
    const names = leaf === undefined ? undefined : altNamesOf(leaf);
    const fields = {
      "remote-addr": remote,
      "server-name": serverName,
      ...(names === undefined ? {} : { "ip-addresses": names.addresses, "dns-names": names.hosts }),
      error,
    };
    // Those who hang up are no news.
    if (error === "EOF") this.#options.logger.debug(message, fields);
    else this.#options.logger.warn(message, fields);
  }
}

/** Node keeps it under a name without a type. */
function rawSocketOf(socket: TLSSocket): Socket {
  const raw = (socket as { readonly _parent?: Socket })._parent;
  invariant(raw !== undefined, () => "TLSServer: a TLS socket without the one below");
  return raw;
}
