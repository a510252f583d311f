/**
 * `npm run sim -- --seed N | --seeds N | --seconds S [--hours H]`: whole clusters under virtual
 * time and faults. The exit code is 1 if a promise was broken. See docs/internals/simulation.md.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

const { build } = await import("esbuild").catch(() => {
  console.error("dependencies are missing: run `npm ci` first");
  process.exit(2);
});
const directory = mkdtempSync(join(tmpdir(), "etcd-sim-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const outfile = join(directory, "sim.mjs");
await build({
  entryPoints: [join(root, "sim/src/main.ts")],
  outfile,
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  conditions: ["source"],
  logLevel: "error",
  sourcemap: "inline",
});
process.setSourceMapsEnabled(true);
await import(pathToFileURL(outfile).href);
