/**
 * Builds the commands to one file each (`cmd/<name>/dist/`); with `--all` also the packages'
 * JavaScript and declarations (`tsc -b`).
 *
 * The server is an ES module. The tools are CommonJS with a code cache beside them, because they
 * have to start fast; see bin/tool.js.
 */
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join, dirname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { lazyDescriptors } from "./lazy-descriptors.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/**
 * The tools and what they do to have their code compiled. Nothing listens at that port, which
 * takes a command through everything but the answer.
 */
const NOWHERE = ["--endpoints=127.0.0.1:1", "--dial-timeout=50ms", "--command-timeout=100ms"];
const TOOLS = {
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

async function buildServer(build) {
  await build({
    ...COMMON,
    entryPoints: [join(root, "cmd", "etcd", "src", "main.ts")],
    outfile: join(root, "cmd", "etcd", "dist", "etcd.mjs"),
    format: "esm",
    // CommonJS libraries inside an ES module bundle still call require() for Node's own modules.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
}

async function buildTool(build, name) {
  const outfile = join(root, "cmd", name, "dist", `${name}.cjs`);
  // A cache must never be older than its file: V8 does not notice every difference.
  rmSync(`${outfile}.cache`, { force: true });
  await build({
    ...COMMON,
    entryPoints: [join(root, "cmd", name, "src", "main.ts")],
    outfile,
    format: "cjs",
    charset: "ascii",
    plugins: [lazyDescriptors(root)],
    minifySyntax: true,
    minifyWhitespace: true,
    // `import()` of Node's own modules becomes require(), which scripts made by node:vm have.
    supported: { "dynamic-import": false },
    define: { "import.meta.url": "__importMetaURL" },
    banner: { js: 'const __importMetaURL = require("node:url").pathToFileURL(__filename).href;' },
  });
  const script = join(root, "scripts", "code-cache.cjs");
  const words = [script, name, JSON.stringify(TOOLS[name])];
  const { status, error } = spawnSync(process.execPath, words, {
    stdio: "ignore",
    timeout: 60_000,
  });
  if (status !== 0) console.warn(`no code cache for ${name}: it starts slower`, error ?? "");
}

export async function buildCommands() {
  const { build } = await import("esbuild");
  await buildServer(build);
  for (const name of Object.keys(TOOLS)) await buildTool(build, name);
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
