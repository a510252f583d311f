/** What a running command has: its words, its flags, its output, and clients made from the flags. */

import { environmentName, err, NumberSyntaxError } from "@etcd-ts/cli";
import type { CommandFlags } from "@etcd-ts/cli";
import { checkTlsOptions, Client, EndpointError, errorText } from "@etcd-ts/client";
import type { ClientOptions, TlsOptions } from "@etcd-ts/client";

import { badArguments, EXIT, ExitError, SilentExit } from "./exit.ts";
import { askPassword } from "./password.ts";
import { discoverEndpoints } from "./discovery.ts";
import { createPrinter } from "./printers/index.ts";
import type { Printer } from "./printers/index.ts";
import { GLOBAL_FLAGS } from "./global-flags.ts";

const PREFIX = "ETCDCTL";
const OTHERS: ReadonlySet<string> = new Set(["ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"]);
/** Stands for a password. */
const HIDDEN = "***";
/** A larger one is silently no limit, as with the reference. */
const RECEIVE_BYTES_MAX = 2 ** 31 - 1;

export type Run = (context: Context) => Promise<void>;

/** One line of JSON on standard error, in the form of the server's log. */
export function logLine(level: "info" | "warn" | "fatal", msg: string, fields: object): void {
  const ts = new Date().toISOString().replace("Z", "000Z");
  err(`${JSON.stringify({ level, ts, msg, ...fields })}\n`);
}

/** How to reach a cluster. */
export interface ConnectionSettings {
  readonly insecureTransport: boolean;
  readonly skipVerify: boolean;
  readonly certPath: string;
  readonly keyPath: string;
  readonly caPath: string;
  readonly serverName: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
}

export class Context {
  /** Plain words after the command's name. */
  readonly args: readonly string[];
  /** The same with flags and `--`. */
  readonly words: readonly string[];
  readonly flags: CommandFlags;
  readonly #clients: Client[] = [];
  readonly #failures = new Map<string, string>();
  #printer: Printer | undefined;
  #settings: ConnectionSettings | undefined;

  constructor(args: readonly string[], words: readonly string[], flags: CommandFlags) {
    this.args = args;
    this.words = words;
    this.flags = flags;
  }

  get printer(): Printer {
    this.#printer ??= createPrinter(this.flags.string("write-out"), this.flags.bool("hex"));
    return this.#printer;
  }

  get format(): string {
    return this.flags.string("write-out");
  }

  /** Of short commands. */
  get timeout(): { readonly timeoutMs: number } {
    return { timeoutMs: this.flags.number("command-timeout") };
  }

  /** What the flags and the environment say of the cluster; also checks the output format. */
  async settings(): Promise<ConnectionSettings> {
    if (this.#settings !== undefined) return this.#settings;
    const { flags } = this;
    takeEnvironment(flags);
    if (flags.bool("debug")) {
      for (const { name } of GLOBAL_FLAGS) {
        err(`${environmentName(PREFIX, name)}=${withoutSecret(name, flags.text(name))}\n`);
      }
    }
    for (const name of ["cert", "key", "cacert"]) {
      if (flags.isExplicit(name) && flags.string(name) === "") {
        throw badArguments(`empty string is passed to --${name} option`);
      }
    }
    const user = await readUser(flags.string("user"), flags.string("password"), "Password: ");
    const domain = flags.bool("insecure-discovery") ? "" : flags.string("discovery-srv");
    this.#settings = {
      insecureTransport: flags.bool("insecure-transport"),
      skipVerify: flags.bool("insecure-skip-tls-verify"),
      certPath: flags.string("cert"),
      keyPath: flags.string("key"),
      caPath: flags.string("cacert"),
      serverName: domain,
      ...user,
    };
    void this.printer;
    return this.#settings;
  }

  /** The endpoints of the flags, or of DNS if it is asked. */
  async endpoints(): Promise<readonly string[]> {
    await this.settings();
    const domain = this.flags.string("discovery-srv");
    if (domain !== "") {
      const found = await discoverEndpoints(
        domain,
        this.flags.string("discovery-srv-name"),
        this.flags.bool("insecure-discovery"),
      );
      if (found.length > 0) return found;
    }
    return this.flags.list("endpoints").map((endpoint) => endpoint.trim());
  }

  /** A client of all endpoints, or of one. */
  async client(endpoint?: string): Promise<Client> {
    const endpoints = endpoint === undefined ? await this.endpoints() : [endpoint];
    return this.clientOf(endpoints, await this.settings());
  }

  /** Logs in, if there is a user. @throws {ExitError} */
  async clientOf(endpoints: readonly string[], settings: ConnectionSettings): Promise<Client> {
    const tls = tlsOptions(settings, endpoints);
    if (tls !== undefined) await mustBeUsable(tls);
    const client = this.#createClient(endpoints, settings, tls);
    try {
      await client.login({ timeoutMs: this.flags.number("dial-timeout") });
    } catch (cause) {
      throw new ExitError(EXIT.badConnection, errorText(cause), { cause });
    }
    return client;
  }

  #createClient(
    endpoints: readonly string[],
    settings: ConnectionSettings,
    tls: TlsOptions | undefined,
  ): Client {
    if (endpoints.length === 0) {
      throw new ExitError(EXIT.badConnection, "etcdclient: no available endpoints");
    }
    try {
      const client = new Client(this.#clientOptions(endpoints, settings, tls));
      this.#clients.push(client);
      return client;
    } catch (cause) {
      if (!(cause instanceof EndpointError)) throw cause;
      throw new ExitError(EXIT.badArguments, cause.message, { cause });
    }
  }

  /** Says which endpoints failed, and how; nothing if all went well. */
  reportFailures(): void {
    for (const [endpoint, error] of this.#failures) {
      logLine("warn", "the endpoint does not answer", { endpoint, error });
    }
    this.#failures.clear();
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
  }

  #clientOptions(
    endpoints: readonly string[],
    settings: ConnectionSettings,
    tls: TlsOptions | undefined,
  ): ClientOptions {
    const { flags } = this;
    const receiveBytes = flags.number("max-recv-bytes");
    const sendBytes = flags.number("max-request-bytes");
    return {
      endpoints,
      dialTimeoutMs: flags.number("dial-timeout"),
      keepaliveTimeMs: flags.number("keepalive-time"),
      keepaliveTimeoutMs: flags.number("keepalive-timeout"),
      onRetry: ({ endpoint, error }) => {
        if (endpoint !== undefined) this.#failures.set(endpoint, errorText(error));
      },
      ...(receiveBytes > 0
        ? { receiveMessageBytesMax: Math.min(receiveBytes, RECEIVE_BYTES_MAX) }
        : {}),
      ...(sendBytes > 0 ? { sendMessageBytesMax: sendBytes } : {}),
      ...(tls === undefined ? {} : { tls }),
      ...(settings.username === undefined
        ? {}
        : { username: settings.username, password: settings.password ?? "" }),
    };
  }
}

/** TLS is used for `https` endpoints, and where certificates are given or plain text is refused. */
function tlsOptions(
  settings: ConnectionSettings,
  endpoints: readonly string[],
): TlsOptions | undefined {
  const { certPath, keyPath, caPath } = settings;
  const isAsked =
    caPath !== "" ||
    certPath !== "" ||
    keyPath !== "" ||
    !settings.insecureTransport ||
    endpoints.some((endpoint) => /^(https|unixs):/.test(endpoint));
  if (!isAsked) return undefined;
  return {
    caFile: caPath,
    certFile: certPath,
    keyFile: keyPath,
    ...(settings.serverName === "" ? {} : { serverName: settings.serverName }),
    insecureSkipVerify: settings.skipVerify,
  };
}

/** @throws {ExitError} for files that are missing, are no certificates, or do not fit together */
async function mustBeUsable(options: TlsOptions): Promise<void> {
  try {
    await checkTlsOptions(options);
  } catch (cause) {
    throw new ExitError(EXIT.badArguments, errorText(cause), { cause });
  }
}

/** A user from `name[:password]` and a password; asks for what is missing. */
export async function readUser(
  user: string,
  password: string,
  prompt: string,
): Promise<Pick<ConnectionSettings, "username" | "password">> {
  if (user === "") return { username: undefined, password: undefined };
  if (password !== "") return { username: user, password };
  const colon = user.indexOf(":");
  if (colon >= 0) return { username: user.slice(0, colon), password: user.slice(colon + 1) };
  return { username: user, password: await askPassword(prompt) };
}

/** The text of a flag as `--debug` may show it. */
function withoutSecret(name: string, text: string): string {
  if (name === "password" && text !== "") return HIDDEN;
  return name === "user" ? text.replace(/:.*$/s, `:${HIDDEN}`) : text;
}

/** Takes `ETCDCTL_*` variables into the global flags that were not given. */
function takeEnvironment(flags: CommandFlags): void {
  const variables = new Map(GLOBAL_FLAGS.map(({ name }) => [environmentName(PREFIX, name), name]));
  for (const [variable, value = ""] of Object.entries(process.env)) {
    if (!variable.startsWith(`${PREFIX}_`)) continue;
    const name = variables.get(variable);
    if (name === undefined || value === "") {
      if (OTHERS.has(variable)) continue;
      logLine("warn", "unrecognized environment variable", {
        "environment-variable": `${variable}=${value}`,
      });
      continue;
    }
    if (flags.isExplicit(name)) {
      logLine(
        "fatal",
        "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))",
        { "environment-variable": variable },
      );
      throw new SilentExit(EXIT.error);
    }
    try {
      flags.set(name, value);
    } catch (cause) {
      if (!(cause instanceof NumberSyntaxError)) throw cause;
      logLine("warn", "an environment variable is ignored: its value does not fit", {
        "environment-variable": `${variable}=${value}`,
        error: cause.message,
      });
    }
  }
}
