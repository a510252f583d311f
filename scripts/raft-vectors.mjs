/**
 * `npm run raft-vectors -- DIR`: replays the transcripts (`.txt`) below DIR on the Raft core.
 *
 * The kind of a transcript is told by the nearest folder around it that is named `interaction`,
 * `confchange` or `quorum`. One line is printed a file, with the first difference if there is one;
 * the last line is `N passed, N failed`. The exit code is 1 if any failed or there were none.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { importBundled } from "./bundled.mjs";

/** The runner is TypeScript of the raft package; Node 20 needs it bundled first. */
const loadRunner = () => importBundled("packages/raft/src/vectors/run.ts", { sourcemap: "inline" });

/** Paths of all transcripts (`.txt`) below `path`, in order. */
function filesBelow(path) {
  if (statSync(path).isFile()) return path.endsWith(".txt") ? [path] : [];
  return readdirSync(path)
    .filter((name) => !/^[.#]/.test(name))
    .sort()
    .flatMap((name) => filesBelow(join(path, name)));
}

function kindOf(path, kinds) {
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
    if (kinds.includes(basename(folder))) return basename(folder);
  }
  return undefined;
}

function replay(path, runner) {
  const kind = kindOf(path, runner.TRANSCRIPT_KINDS);
  if (kind === undefined) {
    return `in no folder named ${runner.TRANSCRIPT_KINDS.join(", ")}`;
  }
  return runner.replayTranscript(kind, readFileSync(path, "utf8")).failure;
}

const [argument, ...others] = process.argv.slice(2);
if (argument === undefined || others.length > 0) {
  console.error("usage: npm run raft-vectors -- DIR");
  process.exit(2);
}
// npm changes to the root of the project; a path is meant from where the user stands.
const directory = resolve(process.env.INIT_CWD ?? process.cwd(), argument);
let files;
try {
  files = filesBelow(directory);
} catch (error) {
  console.error(`cannot read ${directory}: ${error.message}`);
  process.exit(2);
}
const runner = await loadRunner();
let passed = 0;
let failed = 0;
for (const path of files) {
  const failure = replay(path, runner);
  const name = relative(directory, path) || basename(path);
  if (failure === undefined) {
    passed++;
    console.log(`ok   ${name}`);
  } else {
    failed++;
    console.log(`FAIL ${name}: ${failure}`);
  }
}
if (files.length === 0) console.error(`no transcripts in ${directory}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
