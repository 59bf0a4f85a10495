import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "../../../..");
const PROGRAM = join(ROOT, "apps/cli/bin/flashlm.cjs");

/** Path of a fixture that the repository carries, or null in a checkout without them. */
export function fixture(path: string): string | null {
  const candidates = [join(ROOT, "fixtures", path), resolve(ROOT, "../shared/fixtures", path)];
  return candidates.find((candidate) => existsSync(candidate)) ?? null;
}

/** What a run of the program ended with. `code` is null when a signal ended it. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the built program. `onStdout` sees what it has printed so far, `onStart` the process. */
export function flashlm(
  home: string,
  args: readonly string[],
  onStdout: (text: string, child: ChildProcess) => void = () => {},
  onStart: (child: ChildProcess) => void = () => {},
): Promise<Outcome> {
  return new Promise((settle, fail) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      env: { ...process.env, FLASHLM_HOME: home },
      stdio: ["ignore", "pipe", "pipe"],
    });
    onStart(child);
    const outcome = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      outcome.stdout += text;
      onStdout(outcome.stdout, child);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      outcome.stderr += text;
    });
    child.once("error", fail);
    child.once("close", (code) => settle({ code, ...outcome }));
  });
}

/** A temporary folder that is removed when `dispose` is called. */
export function temporaryFolder(): { path: string; dispose: () => void } {
  const path = mkdtempSync(join(tmpdir(), "flashlm-cli-"));
  return { path, dispose: () => rmSync(path, { recursive: true, force: true }) };
}

/** One f32 tensor of a safetensors file. */
export function readFloats(path: string, name: string): { shape: number[]; values: Float32Array } {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start));
  const { dtype, shape, data_offsets: offsets } = header[name];
  if (dtype !== "F32") throw new Error(`${name} is ${dtype}`);
  const values = Float32Array.from({ length: (offsets[1] - offsets[0]) / 4 }, (_, index) =>
    bytes.readFloatLE(start + offsets[0] + index * 4),
  );
  return { shape, values };
}
