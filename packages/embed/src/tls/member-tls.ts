/** The TLS of one member: what its listeners and its connections to peers share. */

import type { Clock, Logger, Metrics } from "@etcd-ts/base";
import { TLSFileSet } from "@etcd-ts/runtime";
import type { EmbedConfig } from "../config.ts";
import { ConfigError } from "../listen-url.ts";
import type { ListenURL } from "../listen-url.ts";
import type { Dial } from "../rafthttp/index.ts";
import { withAutoTLS } from "./auto-tls.ts";
import { watchExpiry } from "./certificate-expiry.ts";
import { peerDial } from "./peer-dial.ts";
import { TLSServer } from "./tls-server.ts";
import { hasCertificate, isSecure, tlsProtocol } from "./transport-security.ts";
import type { TLSProtocol, TransportSecurity } from "./transport-security.ts";

/** The kinds of listener a member has. */
export type ListenerKind = "peer" | "client" | "metrics";

interface Side {
  readonly security: TransportSecurity;
  /** Undefined without a certificate. */
  readonly files: TLSFileSet | undefined;
}

export class MemberTLS {
  readonly #protocol: TLSProtocol;
  readonly #client: Side;
  readonly #peer: Side;
  readonly #logger: Logger;

  private constructor(protocol: TLSProtocol, client: Side, peer: Side, logger: Logger) {
    this.#protocol = protocol;
    this.#client = client;
    this.#peer = peer;
    this.#logger = logger;
  }

  /** Makes what `--auto-tls` asks for, and reads all files. @throws {ConfigError | TLSMaterialError} */
  static async open(config: EmbedConfig, logger: Logger): Promise<MemberTLS> {
    const common = {
      dataDir: config.dataDir,
      validityYears: config.selfSignedCertValidityYears,
      logger,
    };
    const peer = await withAutoTLS(config.peerSecurity, {
      ...common,
      side: "peer",
      urls: config.listenPeerURLs,
    });
    const client = await withAutoTLS(config.clientSecurity, {
      ...common,
      side: "client",
      urls: [...config.listenClientURLs, ...config.listenClientHTTPURLs],
    });
    const sides = [client, peer].map((security) => ({
      security,
      files: hasCertificate(security) ? new TLSFileSet(filesOf(security), logger) : undefined,
    }));
    const tls = new MemberTLS(tlsProtocol(config), sides[0]!, sides[1]!, logger);
    tls.#warnOfPlainListeners(config);
    return tls;
  }

  /** @throws {ConfigError} with etcd's text, if there is no certificate for `url` */
  server(kind: ListenerKind, url: ListenURL): TLSServer {
    const { security, files } = kind === "peer" ? this.#peer : this.#client;
    if (files === undefined) throw missingCertificate(kind, url);
    return new TLSServer({
      files,
      security,
      protocol: this.#protocol,
      logger: this.#logger,
      endpoint: kind === "peer" ? "peer" : "client",
      // Members speak HTTP/1.1 to each other.
      alpn: kind === "peer" ? [] : ["h2"],
      checksRemoteAddress: kind !== "client" && !security.skipClientSANVerification,
    });
  }

  /**
   * @param domain - where the members were found, if in DNS. As in etcd, their certificates have to
   *   name it unless an authority of the operator's choice vouches for them.
   */
  peerDial(domain: string | undefined): Dial {
    const { security } = this.#peer;
    return peerDial({
      security,
      protocol: this.#protocol,
      serverName: security.trustedCAFile === "" ? domain : undefined,
      logger: this.#logger,
    });
  }

  /** @returns ends the watch */
  watchExpiry(clock: Clock, metrics: Metrics): () => void {
    const sets = [
      { endpoint: "client" as const, files: this.#client.files },
      { endpoint: "peer" as const, files: this.#peer.files },
    ];
    return watchExpiry({
      sets: sets.flatMap(({ endpoint, files }) => (files === undefined ? [] : { endpoint, files })),
      clock,
      logger: this.#logger,
      metrics,
    });
  }

  #warnOfPlainListeners(config: EmbedConfig): void {
    const warn = (side: Side, kind: "client" | "peer", urls: readonly ListenURL[]): void => {
      const scheme = kind === "client" ? "http or unix" : "HTTP";
      const flag = kind === "client" ? "--client-cert-auth" : "--peer-client-cert-auth";
      for (const url of urls.filter((candidate) => !isSecure(candidate))) {
        const field = { [`${kind}-url`]: url.text };
        if (side.files !== undefined) {
          this.#logger.warn(
            `scheme is ${scheme} while key and cert files are present; ignoring key and cert files`,
            field,
          );
        }
        if (side.security.clientCertAuth) {
          this.#logger.warn(
            `scheme is ${scheme} while ${flag} is enabled; ignoring client cert auth for this URL`,
            field,
          );
        }
      }
    };
    warn(this.#peer, "peer", config.listenPeerURLs);
    warn(this.#client, "client", [...config.listenClientURLs, ...config.listenClientHTTPURLs]);
  }
}

function filesOf(security: TransportSecurity): ConstructorParameters<typeof TLSFileSet>[0] {
  return {
    certFile: security.certFile,
    keyFile: security.keyFile,
    caFile: security.trustedCAFile,
  };
}

function missingCertificate(kind: ListenerKind, url: ListenURL): ConfigError {
  switch (kind) {
    case "peer":
      return new ConfigError(
        `cannot listen on TLS for ${url.host}:${url.port}: KeyFile and CertFile are not presented`,
      );
    case "client":
      return new ConfigError(
        `TLS key/cert (--cert-file, --key-file) must be provided for client url ${url.text} with HTTPS scheme`,
      );
    case "metrics":
      return new ConfigError(
        "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url",
      );
  }
}
