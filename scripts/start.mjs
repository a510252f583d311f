/**
 * `npm start`: one member on 127.0.0.1:2379 with its data in `default.etcd` of the directory npm
 * was called from. Arguments after `--` go to `etcd`.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { prepare, root } from "./prepare.mjs";

await prepare();
const member = spawn(process.execPath, [join(root, "bin", "etcd"), ...process.argv.slice(2)], {
  cwd: process.env.INIT_CWD ?? process.cwd(),
  stdio: "inherit",
});
// The terminal sends Ctrl-C to the whole group; the member decides when it is done.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    if (signal !== "SIGINT" || !process.stdin.isTTY) member.kill(signal);
  });
}
member.on("exit", (code, signal) => {
  process.exitCode =
    signal === null ? (code ?? 1) : signal === "SIGINT" || signal === "SIGTERM" ? 0 : 1;
});
