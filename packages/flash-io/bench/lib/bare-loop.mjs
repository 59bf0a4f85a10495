import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("../native/bare-loop.c", import.meta.url));

/** Compiles the bare loop into `folder`; the program's path. Throws where there is no C compiler. */
export function buildBareLoop(folder) {
  const program = join(folder, "bare-loop");
  execFileSync(process.env.CC ?? "cc", ["-O2", SOURCE, "-o", program], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  return program;
}

/** Processor and elapsed milliseconds per batch of random reads by the bare loop. */
export function runBareLoop(program, { path, reads, chunkBytes, depth, batches, seed }) {
  const args = [path, reads, chunkBytes, depth, batches, seed].map(String);
  const { cpuSeconds, wallSeconds } = JSON.parse(execFileSync(program, args, { encoding: "utf8" }));
  return { cpuMs: (1000 * cpuSeconds) / batches, elapsedMs: (1000 * wallSeconds) / batches };
}
