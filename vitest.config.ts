import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"], externalConditions: ["source"] } },
  test: {
    include: [
      "packages/*/src/**/*.test.ts",
      "cmd/*/src/**/*.test.ts",
      "sim/src/**/*.test.ts",
      "tests/e2e/**/*.test.ts",
    ],
    setupFiles: ["tests/setup.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // What is waited for comes soon, unless others want the processor.
    expect: { poll: { timeout: 30_000 } },
    // The difference of two large values would take longer than the tests.
    diff: { truncateThreshold: 200 },
  },
});
