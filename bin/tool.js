"use strict";
/**
 * Starts a command from its one built file.
 *
 * The tools are typed by hand, and a member that restarts is missed, so their start counts. V8's
 * code cache lies beside the file: the code was compiled when it was built. V8 refuses a cache of
 * another version of Node, or of other flags, and compiles the file then. CommonJS, because Node's
 * loader of ES modules takes longer than the rest of a short command.
 */
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");
const { setFlagsFromString } = require("node:v8");
const { Script } = require("node:vm");

/** Where a command's file and its cache are. */
function pathsOf(name) {
  const file = path.join(__dirname, "..", "cmd", name, "dist", `${name}.cjs`);
  return { file, cache: `${file}.cache` };
}

function readCache(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/**
 * A collection of a member's heap advances with what is allocated, and not in turns of its own: V8
 * takes one after another, without end, while it waits for its helpers. Said before anything is
 * compiled, as a code cache is good for the same flags only.
 */
const MEMBER_FLAGS = "--no-incremental-marking-task";

/** Compiles a command without running it. */
function load(name) {
  const { file, cache } = pathsOf(name);
  if (name === "etcd") setFlagsFromString(MEMBER_FLAGS);
  let source;
  try {
    // The builder writes ASCII: read as latin-1 it needs no decoding.
    source = readFileSync(file, "latin1");
  } catch {
    console.error(`${name} is not built: run \`npm install && npm run build\` in the checkout`);
    process.exit(1);
  }
  const cachedData = readCache(cache);
  const wrapped = `(function (require, module, exports, __filename) {${source}\n})`;
  const script = new Script(wrapped, { filename: file, cachedData });
  const run = () => {
    const module = { exports: {} };
    script.runInThisContext()(createRequire(file), module, module.exports, file);
  };
  return { script, run };
}

exports.pathsOf = pathsOf;
exports.load = load;
exports.start = (name) => load(name).run();
