/** Bundles a command written in TypeScript and imports it: for what is run from a checkout only. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "./prepare.mjs";

/**
 * @param entry - path of the command, from the root of the checkout
 * @param options - further ones for esbuild
 * @returns the module; its bundle is removed when the process ends
 */
export async function importBundled(entry, options = {}) {
  const { build } = await import("esbuild").catch(() => {
    console.error("dependencies are missing: run `npm ci` first");
    process.exit(2);
  });
  // Beside the libraries, so that those outside the bundle are found.
  const directory = mkdtempSync(join(root, "node_modules/.bundled-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const outfile = join(directory, "command.mjs");
  await build({
    entryPoints: [join(root, entry)],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    conditions: ["source"],
    logLevel: "error",
    ...options,
  });
  return import(pathToFileURL(outfile).href);
}
