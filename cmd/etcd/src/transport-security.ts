/** The TLS settings of one side of a member, from its flags. */

import type { FlagValues } from "@etcd-ts/cli";
import type { TransportSecurity } from "@etcd-ts/embed";
import type { FileSettings } from "./config-file.ts";
import type { FLAGS } from "./flags.ts";

type Values = FlagValues<typeof FLAGS>;

export function clientSecurity(values: Values, file: FileSettings): TransportSecurity {
  return {
    certFile: values["cert-file"],
    keyFile: values["key-file"],
    clientCertFile: values["client-cert-file"],
    clientKeyFile: values["client-key-file"],
    trustedCAFile: values["trusted-ca-file"],
    clientCertAuth: values["client-cert-auth"],
    crlFile: values["client-crl-file"],
    allowedCNs: file.clientAllowedCNs,
    allowedHostnames: values["client-cert-allowed-hostname"],
    skipClientSANVerification: file.clientSkipSANVerification,
    autoTLS: values["auto-tls"],
    isSelfSigned: false,
  };
}

export function peerSecurity(values: Values): TransportSecurity {
  return {
    certFile: values["peer-cert-file"],
    keyFile: values["peer-key-file"],
    clientCertFile: values["peer-client-cert-file"],
    clientKeyFile: values["peer-client-key-file"],
    trustedCAFile: values["peer-trusted-ca-file"],
    clientCertAuth: values["peer-client-cert-auth"],
    crlFile: values["peer-crl-file"],
    allowedCNs: values["peer-cert-allowed-cn"],
    allowedHostnames: values["peer-cert-allowed-hostname"],
    skipClientSANVerification:
      values["peer-skip-client-san-verification"] ||
      values["experimental-peer-skip-client-san-verification"],
    autoTLS: values["peer-auto-tls"],
    isSelfSigned: false,
  };
}
