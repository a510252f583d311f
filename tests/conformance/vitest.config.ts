/** The client library, and recovery, beside the reference; needs the binaries that `run` builds. */

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const program = fileURLToPath(new URL("bin/etcd", import.meta.url));
if (!existsSync(program)) throw new Error(`${program} is missing; tests/conformance/run builds it`);

export default defineConfig({
  root: fileURLToPath(new URL("../..", import.meta.url)),
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"], externalConditions: ["source"] } },
  test: {
    include: ["tests/conformance/*/*.reference.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
  },
});
