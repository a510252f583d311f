/**
 * Writes the code cache of a tool: runs it once with the words given, and keeps what V8 compiled
 * on the way. Called by the build.
 *
 *   node scripts/code-cache.cjs etcdctl WORD...
 */
"use strict";
const { renameSync, writeFileSync } = require("node:fs");
const { load, pathsOf } = require("../bin/tool.js");

const [name, ...words] = process.argv.slice(2);
const { cache } = pathsOf(name);
const { script, run } = load(name);
process.argv = [process.argv[0], name, ...words];
process.on("exit", () => {
  writeFileSync(`${cache}.new`, script.createCachedData());
  renameSync(`${cache}.new`, cache);
  process.exitCode = 0;
});
run();
