/**
 * Where log lines go: the standard streams, or files that may rotate.
 *
 * Rotation keeps the rules of lumberjack, which etcd uses: a line that would pass `maxSizeMB` goes
 * to a fresh file; the full one is kept as `name-<time>.ext`, gzipped if asked; kept ones beyond
 * `maxBackups` or older than `maxAgeDays` are removed. 0 means no bound.
 *
 * Invariants: a line is written whole and at once, so that the last words of a member that stops
 * are not lost; after a failed write the sink goes on trying, and never throws into the caller.
 */

import * as fs from "node:fs";
import * as path from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

import { diskError } from "./disk-errors.ts";

export interface LogSink {
  /** @param line - ends with a line feed */
  write(line: string): void;
  /** Waits for what is still being done with old files. */
  close(): Promise<void>;
}

export interface LogRotation {
  readonly maxSizeMB: number;
  readonly maxAgeDays: number;
  readonly maxBackups: number;
  readonly localTime: boolean;
  readonly compress: boolean;
}

const BYTES_PER_MB = 1024 * 1024;
const MS_PER_DAY = 86_400_000;
const BACKUP_TIME = /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}$/;

/** A sink on a standard stream. */
export function streamSink(stream: NodeJS.WriteStream): LogSink {
  return {
    write: (line) => void stream.write(line),
    close: () => Promise.resolve(),
  };
}

/**
 * The sinks of `--log-outputs`.
 *
 * @param outputs - "default" (standard error), "stderr", "stdout", or paths of files
 * @throws {DiskError} if a file cannot be opened
 */
export function openLogSinks(outputs: readonly string[], rotation?: LogRotation): LogSink[] {
  return outputs.map((output) => {
    if (output === "default" || output === "stderr") return streamSink(process.stderr);
    if (output === "stdout") return streamSink(process.stdout);
    return new FileSink(output, rotation);
  });
}

export class FileSink implements LogSink {
  readonly #path: string;
  readonly #rotation: LogRotation | undefined;
  readonly #now: () => Date;
  #fd: number;
  #sizeBytes: number;
  #upkeep: Promise<void> = Promise.resolve();

  /** @throws {DiskError} */
  constructor(file: string, rotation?: LogRotation, now: () => Date = () => new Date()) {
    this.#path = file;
    this.#rotation = rotation;
    this.#now = now;
    try {
      if (rotation !== undefined)
        fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
      this.#fd = fs.openSync(file, "a", 0o600);
    } catch (error) {
      throw diskError(error, "open", file);
    }
    this.#sizeBytes = fs.fstatSync(this.#fd).size;
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    try {
      if (this.#isFull(bytes.length)) this.#rotate();
      for (let at = 0; at < bytes.length;) at += fs.writeSync(this.#fd, bytes, at);
      this.#sizeBytes += bytes.length;
    } catch {
      // A full disk must not stop the member; the next line tries again.
    }
  }

  async close(): Promise<void> {
    await this.#upkeep;
    if (this.#fd >= 0) fs.closeSync(this.#fd);
    this.#fd = -1;
  }

  #isFull(bytes: number): boolean {
    const megabytes = this.#rotation?.maxSizeMB ?? 0;
    if (megabytes === 0 || this.#sizeBytes === 0) return false;
    return this.#sizeBytes + bytes > megabytes * BYTES_PER_MB;
  }

  #rotate(): void {
    const rotation = this.#rotation;
    if (rotation === undefined) return;
    const { dir, name, ext } = path.parse(this.#path);
    const time = backupTime(this.#now(), rotation.localTime);
    fs.renameSync(this.#path, path.join(dir, `${name}-${time}${ext}`));
    const fd = fs.openSync(this.#path, "a", 0o600);
    fs.closeSync(this.#fd);
    this.#fd = fd;
    this.#sizeBytes = 0;
    // Old files are looked after in the background, one rotation after another.
    this.#upkeep = this.#upkeep.then(() => this.#tidy(rotation)).catch(() => {});
  }

  async #tidy(rotation: LogRotation): Promise<void> {
    const { dir, name, ext } = path.parse(this.#path);
    const backups = (await fs.promises.readdir(dir === "" ? "." : dir))
      .map((file) => ({ file: path.join(dir, file), time: timeOfBackup(file, name, ext) }))
      .filter((backup) => backup.time !== undefined)
      .sort((a, b) => (a.time! < b.time! ? 1 : -1));
    const limitMs = this.#now().getTime() - rotation.maxAgeDays * MS_PER_DAY;
    const limit = backupTime(new Date(limitMs), rotation.localTime);
    for (const [i, { file, time }] of backups.entries()) {
      const isSurplus = rotation.maxBackups > 0 && i >= rotation.maxBackups;
      const isOld = rotation.maxAgeDays > 0 && time! < limit;
      if (isSurplus || isOld) await fs.promises.rm(file, { force: true });
      else if (rotation.compress && !file.endsWith(".gz")) await compress(file);
    }
  }
}

/** The time in a backup's name; undefined if the file is none of ours. */
function timeOfBackup(file: string, name: string, ext: string): string | undefined {
  const plain = file.endsWith(".gz") ? file.slice(0, -".gz".length) : file;
  if (!plain.startsWith(`${name}-`) || !plain.endsWith(ext)) return undefined;
  const time = plain.slice(name.length + 1, plain.length - ext.length);
  return BACKUP_TIME.test(time) ? time : undefined;
}

/** `2006-01-02T15-04-05.000`. */
function backupTime(date: Date, localTime: boolean): string {
  const shifted = localTime ? new Date(date.getTime() - date.getTimezoneOffset() * 60_000) : date;
  return shifted.toISOString().slice(0, -1).replaceAll(":", "-");
}

async function compress(file: string): Promise<void> {
  const target = `${file}.gz`;
  try {
    await pipeline(
      fs.createReadStream(file),
      createGzip(),
      fs.createWriteStream(target, { mode: 0o600 }),
    );
  } catch (error) {
    await fs.promises.rm(target, { force: true });
    throw error;
  }
  await fs.promises.rm(file);
}
