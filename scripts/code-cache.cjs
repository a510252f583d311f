/**
 * Writes the code cache of a tool: runs it with each of the command lines given, and keeps what V8
 * compiled on the way. Called by the build.
 *
 *   node scripts/code-cache.cjs etcdctl '[["version"], ["get", "key"]]'
 */
"use strict";
const { renameSync, writeFileSync } = require("node:fs");
const { load, pathsOf } = require("../bin/tool.js");

const [, program, name, lines] = process.argv;
const { cache } = pathsOf(name);
const { script, run } = load(name);
const left = JSON.parse(lines);
const exit = process.exit.bind(process);

function next() {
  const words = left.shift();
  if (words === undefined) {
    writeFileSync(`${cache}.new`, script.createCachedData());
    renameSync(`${cache}.new`, cache);
    exit(0);
  }
  process.argv = [process.execPath, program, ...words];
  run();
}

// A tool ends by leaving; here the next command line follows.
process.exit = next;
next();
