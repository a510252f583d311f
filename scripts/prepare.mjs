/**
 * Makes a checkout ready to run: installs dependencies if they are missing or older than the lock
 * file, and builds the commands. Quiet when there is nothing to do.
 */
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");

const NODE_MINIMUM = [20, 19];

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > NODE_MINIMUM[0] || (major === NODE_MINIMUM[0] && minor >= NODE_MINIMUM[1])) return;
  console.error(
    `etcd-ts needs Node ${NODE_MINIMUM.join(".")} or newer; this is ${process.version}`,
  );
  process.exit(1);
}

function installIfNeeded() {
  const installed = join(root, "node_modules", ".package-lock.json");
  const lock = join(root, "package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  console.error("installing dependencies (npm install)");
  // Not `npm ci`: it refuses a lock file that lacks optional packages of other platforms, which
  // npm leaves out where a registry does not have them.
  const words = ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"];
  const npm = spawnSync("npm", words, {
    cwd: root,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (npm.status !== 0) process.exit(npm.status ?? 1);
}

export async function prepare() {
  checkNode();
  installIfNeeded();
  const { buildCommands } = await import("./build.mjs");
  await buildCommands();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await prepare();
