/** `npm run certs -- DIR [options]`: certificates for a test cluster; `--help` tells more. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "./prepare.mjs";

const { build } = await import("esbuild").catch(() => {
  console.error("dependencies are missing: run `npm ci` first");
  process.exit(2);
});
// Beside the libraries, which stay outside the bundle.
const directory = mkdtempSync(join(root, "node_modules/.certs-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const outfile = join(directory, "certs.mjs");
await build({
  entryPoints: [join(root, "packages/certs/src/command.ts")],
  outfile,
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  conditions: ["source"],
  external: ["@peculiar/x509", "reflect-metadata"],
  logLevel: "error",
});
const { makeCertificates } = await import(pathToFileURL(outfile).href);
try {
  await makeCertificates(process.argv.slice(2), (line) => console.log(line));
} catch (error) {
  console.error(`certs: ${error.message}`);
  if (error.code === "USAGE") console.error("npm run certs -- --help");
  process.exitCode = error.code === "USAGE" ? 2 : 1;
}
