/** `npm run certs -- DIR [options]`: certificates for a test cluster; `--help` tells more. */
import { importBundled } from "./bundled.mjs";

const { makeCertificates } = await importBundled("packages/certs/src/command.ts", {
  external: ["@peculiar/x509", "reflect-metadata"],
});
try {
  await makeCertificates(process.argv.slice(2), (line) => console.log(line));
} catch (error) {
  console.error(`certs: ${error.message}`);
  if (error.code === "USAGE") console.error("npm run certs -- --help");
  process.exitCode = error.code === "USAGE" ? 2 : 1;
}
