import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const FOLDER = join(import.meta.dirname, "..");

it("the bench of head training runs at a small size", async () => {
  const args = ["bench/train-head.mjs", "--smoke", "--kernels", "wasm", "--threads", "1"];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: FOLDER });
  expect(stdout).toMatch(/^wasm.*, 1 threads, \d+ MiB for 250 neurons of 96 inputs, rank 16, 80 tokens$/m);
  for (const head of ["own inputs", "look-ahead"])
    expect(stdout).toMatch(
      new RegExp(`^${head}: start and its measurement [\\d.]+ s, with 3 epochs [\\d.]+ s$`, "m"),
    );
});
