/**
 * Machines the runbook is run on: each a directory with its own `/etc`, `/var` and so on, and
 * processes on loopback.
 *
 * Paths in scripts and files are replaced by those of the machine. Addresses stay as they are
 * documented and become ports of loopback when a program of etcd is given them, as a network would
 * translate them. `systemctl` and `crictl` are scripts that do what those do with the one service
 * there is; everything else is real.
 */

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CertificateAuthority, writePair, writeWhole } from "@etcd-ts/certs";
import { freePorts } from "../processes/free-ports.ts";
import { missingLine } from "./runbook.ts";
import type { Section } from "./runbook.ts";

export type Program = "ours" | "reference";

/** Whose programs a machine has. */
export interface Programs {
  readonly etcd: Program;
  readonly etcdctl: Program;
  readonly etcdutl: Program;
}

export function allOf(program: Program): Programs {
  return { etcd: program, etcdctl: program, etcdutl: program };
}

const repository = join(import.meta.dirname, "../..");
const BLOCK_MS_MAX = 120_000;
const LOG_BYTES_SHOWN = 3000;
/** Of the subnet the machines have, and of the one they move to. */
const SUBNETS = [0, 1];
/** Paths that are the machine's own; `/backup` is shared by all. */
const OWN_PATHS = /(^|[\s"'=:#(>])(\/(?:etc|var|mnt|opt|usr\/local)\b)/gm;
const SHARED_PATHS = /(^|[\s"'=:#(>])(\/backup\b)/gm;

export interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

export class Site {
  readonly machines: readonly Machine[];
  readonly directory: string;
  /** Files of whom everybody here trusts and is; undefined: all is plain text. */
  readonly tls: TlsFiles | undefined;
  readonly #ports: ReadonlyMap<string, number>;

  private constructor(
    directory: string,
    names: readonly string[],
    ports: Map<string, number>,
    tls: TlsFiles | undefined,
  ) {
    this.directory = directory;
    this.tls = tls;
    this.#ports = ports;
    this.machines = names.map((name, i) => new Machine(this, name, i + 1));
  }

  /** @param isSecure - clients and peers talk TLS, both sides with certificates */
  static async create(count: number, isSecure = false): Promise<Site> {
    const directory = fs.mkdtempSync(join(tmpdir(), "etcd-recovery-"));
    const addresses = SUBNETS.flatMap((subnet) =>
      Array.from({ length: count }, (_, i) => `10.0.${subnet}.${i + 1}`),
    ).flatMap((host) => [`${host}:2379`, `${host}:2380`]);
    const free = await freePorts(addresses.length);
    const ports = new Map(addresses.map((address, i) => [address, free[i]!]));
    fs.mkdirSync(join(directory, "backup"));
    const names = Array.from({ length: count }, (_, i) => `m${i + 1}`);
    const tls = isSecure ? await makeCertificates(join(directory, "tls")) : undefined;
    return new Site(directory, names, ports, tls);
  }

  machine(name: string): Machine {
    const found = this.machines.find((one) => one.name === name);
    if (found === undefined) throw new Error(`there is no machine ${name}`);
    return found;
  }

  /** `http://10.0.0.1:2379` as it can be reached. */
  real(text: string): string {
    const scheme = this.tls === undefined ? "http" : "https";
    return text
      .replaceAll("http://10.", `${scheme}://10.`)
      .replace(/10\.0\.\d+\.\d+:\d+/g, (address) => {
        const port = this.#ports.get(address);
        if (port === undefined) throw new Error(`nobody has the address ${address}`);
        return `127.0.0.1:${port}`;
      });
  }

  /** Bash that puts the arguments, translated, into `args`, and translates `ETCD_*` variables. */
  translation(): string {
    const steps = [...this.#ports].map(
      ([address, port]) => `text=\${text//${address}/127.0.0.1:${port}}`,
    );
    if (this.tls !== undefined) steps.unshift("text=${text//http:\\/\\/10./https:\\/\\/10.}");
    return [
      "args=()",
      "translate() {",
      "  text=$1",
      ...steps.map((step) => `  ${step}`),
      "}",
      'for word in "$@"; do translate "$word"; args+=("$text"); done',
      'for name in "${!ETCD_@}"; do translate "${!name}"; export "$name=$text"; done',
      "",
    ].join("\n");
  }

  /** What a process printed, as the runbook would show it. */
  documented(text: string): string {
    let shown = text;
    for (const [address, port] of this.#ports) {
      shown = shown.replaceAll(`127.0.0.1:${port}`, address);
    }
    shown = shown.replaceAll("https://10.", "http://10.");
    for (const { root } of this.machines) shown = shown.replaceAll(root, "");
    return shown.replaceAll(this.directory, "");
  }

  /** @param next - whose server an upgrade finds; default: the same */
  use(programs: Programs, next: Program = programs.etcd): void {
    for (const machine of this.machines) machine.use(programs, next);
  }

  /** Runs all blocks of a section in order. @throws {Error} if one fails or shows something else */
  async run(section: Section): Promise<void> {
    for (const { line, machine, script, sees } of section.blocks) {
      const on = machine === "each" ? this.machines : [this.machine(machine)];
      for (const one of on) {
        const { code, output } = await one.run(script);
        const missing = code === 0 ? missingLine(output, sees) : undefined;
        if (code === 0 && missing === undefined) continue;
        const what = code === 0 ? `does not show ${JSON.stringify(missing)}` : `ended with ${code}`;
        throw new Error(`docs/recovery.md:${line} on ${one.name} ${what}:\n${output}`);
      }
    }
  }

  logs(): string {
    return this.machines.map(({ name, log }) => `--- log of ${name}\n${log}`).join("\n");
  }

  /** Ends every process and removes all files. */
  close(): void {
    for (const machine of this.machines) machine.kill("SIGKILL");
    fs.rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

export class Machine {
  readonly name: string;
  readonly root: string;
  readonly #site: Site;
  readonly #number: number;

  constructor(site: Site, name: string, number: number) {
    this.#site = site;
    this.name = name;
    this.#number = number;
    this.root = join(site.directory, name);
    for (const directory of [
      "bin",
      "etc/default",
      "var/lib",
      "mnt",
      "opt/etcd-next/bin",
      "usr/local/bin",
      "run",
    ]) {
      fs.mkdirSync(join(this.root, directory), { recursive: true });
    }
    this.#script("bin/systemctl", SYSTEMCTL);
    this.#script("bin/crictl", CRICTL);
    fs.symlinkSync(join(this.root, "bin/etcd"), join(this.root, "usr/local/bin/etcd"));
    this.use(allOf("ours"), "ours");
  }

  get dataDirectory(): string {
    return this.path("/var/lib/etcd");
  }

  get log(): string {
    const file = this.path("/run/etcd.log");
    if (!fs.existsSync(file)) return "";
    return this.#site.documented(fs.readFileSync(file, "utf8").slice(-LOG_BYTES_SHOWN));
  }

  path(documented: string): string {
    return join(this.root, documented);
  }

  /** Writes `/etc/default/etcd`. @param more - further lines */
  configure(...more: readonly string[]): void {
    const host = `10.0.0.${this.#number}`;
    const members = this.#site.machines.map(({ name }, i) => `${name}=http://10.0.0.${i + 1}:2380`);
    const lines = [
      `ETCD_NAME=${this.name}`,
      "ETCD_DATA_DIR=/var/lib/etcd",
      `ETCD_LISTEN_CLIENT_URLS=http://${host}:2379`,
      `ETCD_ADVERTISE_CLIENT_URLS=http://${host}:2379`,
      `ETCD_LISTEN_PEER_URLS=http://${host}:2380`,
      `ETCD_INITIAL_ADVERTISE_PEER_URLS=http://${host}:2380`,
      `ETCD_INITIAL_CLUSTER=${members.join(",")}`,
      "ETCD_INITIAL_CLUSTER_STATE=new",
      ...tlsLines(this.#site.tls),
      ...more,
    ];
    this.write("/etc/default/etcd", lines.join("\n") + "\n");
  }

  /** A file as the runbook's machines have it. */
  write(documented: string, text: string): void {
    const file = this.path(documented);
    fs.mkdirSync(join(file, ".."), { recursive: true });
    fs.writeFileSync(file, this.#located(text));
  }

  use(programs: Programs, next: Program): void {
    const run = (words: string) => `exec ${words} "\${args[@]}"`;
    const translate = this.#site.translation();
    for (const name of ["etcd", "etcdctl"] as const) {
      this.#script(`bin/${name}`, translate + run(programWords(programs[name], name)));
    }
    this.#script("opt/etcd-next/bin/etcd", translate + run(programWords(next, "etcd")));
    // Only ours verifies, and only ours reads what it hashes without writing to it.
    const ours = run(programWords("ours", "etcdutl"));
    const chosen = run(programWords(programs.etcdutl, "etcdutl"));
    const choice = `case "$1" in verify|hashkv) ${ours};; *) ${chosen};; esac`;
    this.#script("bin/etcdutl", translate + choice);
  }

  #script(name: string, text: string): void {
    const file = join(this.root, name);
    fs.rmSync(file, { force: true });
    fs.writeFileSync(file, `#!/usr/bin/env bash\n${text}\n`, { mode: 0o755 });
  }

  /** Runs a script of the runbook as its reader would. */
  async run(script: string): Promise<Outcome> {
    const { code, output } = await runBash(this.#located(script), this.#environment());
    return { code, output: this.#site.documented(output) };
  }

  /** A text with the paths of this machine. */
  #located(text: string): string {
    return text
      .replace(OWN_PATHS, `$1${this.root}$2`)
      .replace(SHARED_PATHS, `$1${this.#site.directory}$2`);
  }

  #environment(): NodeJS.ProcessEnv {
    const kept = Object.entries(process.env).filter(([name]) => !/^ETCD|^NODE_|^VITEST/.test(name));
    return {
      ...Object.fromEntries(kept),
      PATH: `${this.root}/bin:${this.root}/usr/local/bin:${process.env["PATH"]}`,
      MACHINE: this.root,
      ...toolVariables(this.#site.tls),
    };
  }

  /** Sends a signal to the service, if it runs. */
  kill(signal: NodeJS.Signals): void {
    const file = this.path("/run/etcd.pid");
    if (!fs.existsSync(file)) return;
    const pid = Number(fs.readFileSync(file, "utf8"));
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended.
    }
  }
}

/** Starts and stops the service as systemd does, with the configuration of its environment file. */
const SYSTEMCTL = `
for word in "$@"; do
  case $word in
    start|stop|restart) action=$word;;
    --no-block|etcd) ;;
    *) echo "systemctl: $word?" >&2; exit 1;;
  esac
done
pid_file=$MACHINE/run/etcd.pid
stop() {
  [ -s "$pid_file" ] || return 0
  pid=$(<"$pid_file")
  kill -TERM "$pid" 2>/dev/null || true
  while grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$pid/status"; do sleep 0.05; done
  rm "$pid_file"
}
start() {
  (set -a; . "$MACHINE/etc/default/etcd"; exec setsid "$MACHINE/usr/local/bin/etcd") \
    </dev/null >>"$MACHINE/run/etcd.log" 2>&1 &
  echo $! >"$pid_file"
}
case $action in
  start) start;;
  stop) stop;;
  restart) stop; start;;
esac`;

/** Lists the container of etcd, if it runs. */
const CRICTL = `
[ "$1 $2 $3" = "ps -q --name" ] || { echo "crictl: $*?" >&2; exit 1; }
pid=$(cat "$MACHINE/run/etcd.pid" 2>/dev/null) || exit 0
if grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$pid/status"; then echo "$pid"; fi`;

interface TlsFiles {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

async function makeCertificates(directory: string): Promise<TlsFiles> {
  const files = {
    caFile: join(directory, "ca.crt"),
    certFile: join(directory, "all.crt"),
    keyFile: join(directory, "all.key"),
  };
  const authority = await CertificateAuthority.create();
  writeWhole(files.caFile, authority.pair.cert, 0o644);
  writePair(await authority.issue({ hosts: ["127.0.0.1"] }), files.certFile, files.keyFile);
  return files;
}

/** Of the environment file. */
function tlsLines(tls: TlsFiles | undefined): readonly string[] {
  if (tls === undefined) return [];
  return ["ETCD", "ETCD_PEER"].flatMap((prefix) => [
    `${prefix}_CERT_FILE=${tls.certFile}`,
    `${prefix}_KEY_FILE=${tls.keyFile}`,
    `${prefix}_TRUSTED_CA_FILE=${tls.caFile}`,
    `${prefix}_CLIENT_CERT_AUTH=true`,
  ]);
}

function toolVariables(tls: TlsFiles | undefined): NodeJS.ProcessEnv {
  if (tls === undefined) return {};
  return { ETCDCTL_CACERT: tls.caFile, ETCDCTL_CERT: tls.certFile, ETCDCTL_KEY: tls.keyFile };
}

/** Words that start a program. */
export function programWords(program: Program, name: string): string {
  if (program === "ours") return `"${process.execPath}" "${join(repository, "bin", name)}"`;
  return `"${join(repository, "tests/conformance/bin", name)}"`;
}

/** Stops at the first command that fails. */
function runBash(script: string, env: NodeJS.ProcessEnv): Promise<Outcome> {
  const child = spawn("bash", ["-euo", "pipefail", "-c", script], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: BLOCK_MS_MAX,
    killSignal: "SIGKILL",
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output }));
  });
}
