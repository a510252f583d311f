import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"], externalConditions: ["source"] } },
  test: {
    include: ["packages/*/src/**/*.test.ts", "cmd/*/src/**/*.test.ts", "tests/e2e/**/*.test.ts"],
    testTimeout: 30_000,
  },
});
