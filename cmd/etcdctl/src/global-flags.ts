/** Flags every command has, and short ways to write flags down. */

import type { CommandFlag } from "@etcd-ts/cli";

export function boolFlag(name: string, usage: string, defaultValue = false): CommandFlag {
  return { name, kind: "bool", defaultText: String(defaultValue), usage };
}

export function stringFlag(name: string, usage: string, defaultText = ""): CommandFlag {
  return { name, kind: "string", defaultText, usage };
}

export function intFlag(name: string, usage: string, defaultValue = 0): CommandFlag {
  return { name, kind: "int", defaultText: String(defaultValue), usage };
}

function durationFlag(name: string, usage: string, defaultText: string): CommandFlag {
  return { name, kind: "duration", defaultText, usage };
}

export const GLOBAL_FLAGS: readonly CommandFlag[] = [
  stringFlag("cacert", "file of the authorities that sign the servers' certificates"),
  stringFlag("cert", "file of the certificate this client shows"),
  durationFlag("command-timeout", "how long a short command may take, without dialling", "5s"),
  boolFlag("debug", "print the settings and what goes wrong on the way"),
  durationFlag("dial-timeout", "how long an endpoint may take to accept a connection", "2s"),
  { ...stringFlag("discovery-srv", "domain whose SRV records name the endpoints"), short: "d" },
  stringFlag("discovery-srv-name", "service name in those SRV records"),
  {
    name: "endpoints",
    kind: "list",
    defaultText: "127.0.0.1:2379",
    usage: "addresses of members, between commas",
  },
  boolFlag("hex", "print keys and values as hexadecimal escapes"),
  boolFlag("insecure-discovery", "take endpoints without TLS from SRV records", true),
  boolFlag("insecure-skip-tls-verify", "accept any server certificate (for tests only)"),
  boolFlag("insecure-transport", "allow connections without TLS", true),
  durationFlag(
    "keepalive-time",
    "ask a silent connection for a sign of life after this time",
    "2s",
  ),
  durationFlag("keepalive-timeout", "give the connection up without a sign for this time", "6s"),
  stringFlag("key", "file of the key to --cert"),
  intFlag("max-recv-bytes", "largest answer to accept; 0 for 2 GiB"),
  intFlag("max-request-bytes", "largest request to send; 0 for 2 MiB"),
  stringFlag("password", "password of --user, which then holds the name alone"),
  stringFlag("user", "name[:password] to log in with; the password is asked for if missing"),
  {
    ...stringFlag("write-out", "output format: fields, json, protobuf, simple or table", "simple"),
    short: "w",
  },
];
