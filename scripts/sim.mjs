/**
 * `npm run sim -- --seed N | --seeds N | --seconds S [--hours H]`: whole clusters under virtual
 * time and faults. The exit code is 1 if a promise was broken. See docs/internals/simulation.md.
 */
import { importBundled } from "./bundled.mjs";

process.setSourceMapsEnabled(true);
await importBundled("sim/src/main.ts", { sourcemap: "inline" });
