/**
 * Builds the commands to one file each (`cmd/<name>/dist/<name>.mjs`); with `--all` also the
 * packages' JavaScript and declarations (`tsc -b`).
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, dirname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const COMMANDS = ["etcd", "etcdctl", "etcdutl"];

/** Native add-ons cannot be bundled; they are loaded from node_modules. */
const EXTERNAL = ["fs-native-extensions"];

export async function buildCommands() {
  const { build } = await import("esbuild");
  for (const name of COMMANDS) {
    const entry = join(root, "cmd", name, "src", "main.ts");
    if (!existsSync(entry)) continue;
    await build({
      entryPoints: [entry],
      outfile: join(root, "cmd", name, "dist", `${name}.mjs`),
      bundle: true,
      platform: "node",
      target: "node20.19",
      format: "esm",
      conditions: ["source"],
      external: EXTERNAL,
      sourcemap: "linked",
      legalComments: "none",
      logLevel: "warning",
      // CommonJS libraries inside an ES module bundle still call require() for Node's own modules.
      banner: {
        js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
      },
    });
  }
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
