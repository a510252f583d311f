/**
 * The `etcd` command: reads the command line, runs one member until a signal or a failure.
 *
 * Exit status, as etcd's: 0 after --help, --version and as process 1; 2 for a command line that
 * cannot be read; 1 for one that cannot be run, and for a member that failed. After SIGINT or
 * SIGTERM the process ends by that signal.
 */

import { statSync } from "node:fs";
import { SERVER_VERSION } from "@etcd-ts/api";
import type { Logger } from "@etcd-ts/base";
import { EtcdError } from "@etcd-ts/base";
import { ConflictingEnvironmentError, FlagError, HelpRequested } from "@etcd-ts/cli";
import { createLogger, embedConfig, startMember } from "@etcd-ts/embed";
import type { EmbedConfig, Etcd } from "@etcd-ts/embed";
import { NodeDisk } from "@etcd-ts/runtime";
import { readCommandLine } from "./command-line.ts";
import type { CommandLine } from "./command-line.ts";
import { helpText, USAGE } from "./help.ts";

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

const SUBCOMMANDS: ReadonlySet<string> = new Set(["gateway", "grpc-proxy"]);

async function main(): Promise<void> {
  const words = process.argv.slice(2);
  const command = read(words);
  if (command === undefined) return;
  const { config } = command;
  const logger = createLogger(config);
  logStart(logger, command);
  let etcd: Etcd;
  try {
    etcd = await startMember(config, {
      disk: new NodeDisk({ logger }),
      logger,
      commandLine: process.argv,
    });
  } catch (error) {
    logger.log("fatal", "discovery failed", { error: describe(error) });
    process.exitCode = EXIT_FAILURE;
    process.exit();
  }
  stopOnSignal(etcd, logger);
  const failure = await etcd.ended;
  if (failure !== undefined) {
    logger.log("fatal", "etcd has failed", { error: describe(failure) });
    process.exit(EXIT_FAILURE);
  }
}

/** @returns what to run; undefined when the command line is answered already */
function read(words: readonly string[]): CommandLine | undefined {
  const first = words[0];
  if (first !== undefined && SUBCOMMANDS.has(first)) {
    process.stderr.write(`etcd ${first} is not built yet in etcd-ts\n`);
    process.exitCode = EXIT_FAILURE;
    return undefined;
  }
  try {
    const command = readCommandLine(words, process.env);
    if (command !== "version") return command;
    process.stdout.write(versionText());
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    refuse(error);
  }
  return undefined;
}

function refuse(error: EtcdError): void {
  if (error instanceof HelpRequested) {
    process.stdout.write(helpText());
    return;
  }
  if (error instanceof FlagError && !(error instanceof ConflictingEnvironmentError)) {
    process.stderr.write(`${error.message}\n${USAGE}\n`);
    process.exitCode = EXIT_USAGE;
    return;
  }
  const logger = createLogger(embedConfig());
  if (error instanceof ConflictingEnvironmentError) {
    logger.log("fatal", error.message, { "environment-variable": error.variable });
  } else logger.warn("failed to verify flags", { error: error.message });
  process.exitCode = EXIT_FAILURE;
}

function versionText(): string {
  return [
    `etcd Version: ${SERVER_VERSION}`,
    "Git SHA: etcd-ts",
    `Go Version: none (Node.js ${process.version})`,
    `Go OS/Arch: ${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
    "",
  ].join("\n");
}

function logStart(logger: Logger, command: CommandLine): void {
  const { config, environment, warnings } = command;
  for (const { variable, value } of environment.used) {
    logger.info("recognized and used environment variable", {
      "variable-name": variable,
      "variable-value": /PASSWORD|USER/.test(variable) ? "(hidden)" : value,
    });
  }
  for (const variable of environment.unrecognized) {
    logger.warn("unrecognized environment variable", { "environment-variable": variable });
  }
  for (const warning of warnings) logger.warn(warning);
  logger.info("Running: ", { args: process.argv.slice(1) });
  if (config.name === "default") {
    logger.warn(
      "it isn't recommended to use default name, please set a value for --name. Note that etcd might run into issue when multiple members have the same default name",
      { name: config.name },
    );
  }
  logger.info("Initialize and start etcd server", {
    "data-dir": config.dataDir,
    "dir-type": directoryType(config),
  });
  logger.info("starting an etcd server", {
    "etcd-version": SERVER_VERSION,
    "go-version": `none (Node.js ${process.version})`,
    name: config.name,
    "data-dir": config.dataDir,
    "wal-dir": config.walDir,
    "heartbeat-interval": `${config.heartbeatIntervalMs}ms`,
    "election-timeout": `${config.electionTimeoutMs}ms`,
    "snapshot-count": config.snapshotCount,
    "quota-backend-bytes": config.quotaBackendBytes,
    "max-request-bytes": config.requestBytesMax,
    "initial-cluster": config.initialCluster,
    "initial-cluster-state": config.initialClusterState,
    "initial-cluster-token": config.initialClusterToken,
    "auto-compaction-mode": config.autoCompactionMode,
    "auto-compaction-retention": config.autoCompactionRetention,
    "listen-client-urls": config.listenClientURLs.map(({ text }) => text),
    "advertise-client-urls": config.advertiseClientURLs.map(({ text }) => text),
  });
}

function directoryType(config: EmbedConfig): string {
  const member = statSync(`${config.dataDir}/member`, { throwIfNoEntry: false });
  return member === undefined ? "empty" : "member";
}

/** Ends the member on the first signal, and the process by that signal, so that callers see it. */
function stopOnSignal(etcd: Etcd, logger: Logger): void {
  let isStopping = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (isStopping) return;
      isStopping = true;
      const name = signal === "SIGINT" ? "interrupt" : "terminated";
      logger.info("received signal; shutting down", { signal: name });
      etcd.stop().then(
        () => endBy(signal),
        (error: unknown) => {
          logger.error("failed to stop cleanly", { error: describe(error) });
          process.exit(EXIT_FAILURE);
        },
      );
    });
  }
}

function endBy(signal: "SIGINT" | "SIGTERM"): void {
  // The default action does not apply to the first process of a container.
  if (process.pid === 1) process.exit(0);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // The message of a failure of the world is enough; a broken promise of ours wants its place.
  return error instanceof EtcdError ? error.message : (error.stack ?? error.message);
}

void main();
