/**
 * Builds the commands to one file each (`cmd/<name>/dist/`); with `--all` also the packages'
 * JavaScript and declarations (`tsc -b`).
 *
 * CommonJS with a code cache beside it, because they have to start fast; see bin/tool.js.
 */
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join, dirname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { lazyDescriptors } from "./lazy-descriptors.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/**
 * The commands and what they do to have their code compiled. Nothing listens at that port, which
 * takes a command through everything but the answer. The server is started twice, the second time
 * on what the first has left; see scripts/code-cache.cjs.
 */
const NOWHERE = ["--endpoints=127.0.0.1:1", "--dial-timeout=50ms", "--command-timeout=100ms"];
const COMMANDS = {
  etcd: [[], []],
  etcdctl: [
    [...NOWHERE, "get", "key"],
    [...NOWHERE, "endpoint", "status"],
  ],
  etcdutl: [["snapshot", "status", join(root, "package.json")]],
};

/** Native add-ons cannot be bundled; they are loaded from node_modules. */
const EXTERNAL = ["fs-native-extensions"];

const COMMON = {
  bundle: true,
  platform: "node",
  target: "node20.19",
  conditions: ["source"],
  external: EXTERNAL,
  sourcemap: "linked",
  legalComments: "none",
  logLevel: "warning",
};

/** The server keeps its layout, for the stacks in its log, and descriptors, which it uses all day. */
const SERVER = {};
const TOOL = { plugins: [lazyDescriptors(root)], minifySyntax: true, minifyWhitespace: true };

async function buildCommand(build, name) {
  const outfile = join(root, "cmd", name, "dist", `${name}.cjs`);
  // A cache must never be older than its file: V8 does not notice every difference.
  rmSync(`${outfile}.cache`, { force: true });
  await build({
    ...COMMON,
    entryPoints: [join(root, "cmd", name, "src", "main.ts")],
    outfile,
    format: "cjs",
    charset: "ascii",
    ...(name === "etcd" ? SERVER : TOOL),
    // `import()` of Node's own modules becomes require(), which scripts made by node:vm have.
    supported: { "dynamic-import": false },
    define: { "import.meta.url": "__importMetaURL" },
    banner: { js: 'const __importMetaURL = require("node:url").pathToFileURL(__filename).href;' },
  });
  const script = join(root, "scripts", "code-cache.cjs");
  const words = [script, name, JSON.stringify(COMMANDS[name])];
  const { status, error } = spawnSync(process.execPath, words, {
    stdio: "ignore",
    timeout: 60_000,
    // A member would take its time, and the next command line.
    killSignal: "SIGKILL",
  });
  if (status !== 0) console.warn(`no code cache for ${name}: it starts slower`, error ?? "");
}

export async function buildCommands() {
  const { build } = await import("esbuild");
  for (const name of Object.keys(COMMANDS)) await buildCommand(build, name);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const tsc = spawnSync(
    process.execPath,
    [join(root, "node_modules", "typescript", "bin", "tsc"), "-b"],
    {
      cwd: root,
      stdio: "inherit",
    },
  );
  if (tsc.status !== 0) process.exit(tsc.status ?? 1);
  await buildCommands();
}
