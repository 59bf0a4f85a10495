import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";

const FOLDER = join(import.meta.dirname, "..");

describe("benches", () => {
  it("run every op once at the widest shape, on the target that every machine has", async () => {
    const args = ["bench/ops.mjs", "--smoke", "--target", "wasm", "--shapes", "opt-6.7b", "--threads", "1"];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: FOLDER });
    const [title, ...lines] = stdout.trim().split("\n");
    expect(title).toBe("opt-6.7b, 1 threads");
    for (const line of lines)
      expect(line).toMatch(/^ {2}\S.* [\d.]+ ms +[\d.]+ GB\/s +[\d.]+ GFLOP\/s {2}wasm/);
    const names = ["matmul", "sparse FFN", "attention", "neuron scores", "crc32c", "norm", "rope", "add"];
    for (const name of [...names, "copy", "softmax", "soft cap", "argmax", "convert f32 to q4_1,"])
      expect(lines.filter((line) => line.startsWith(`  ${name} `))).not.toHaveLength(0);
  });
});
