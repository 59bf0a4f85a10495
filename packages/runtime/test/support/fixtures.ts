import { cpSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "../../../..");
/** Fixtures beside the project; a small part of them is kept in the project, so that a clone alone tests the essentials. */
const SHARED = resolve(ROOT, "../shared");
const VENDORED = resolve(ROOT, "fixtures");

/** Path of a fixture, from the shared folder or the vendored part, or null where neither has it. */
export function fixture(path: string): string | null {
  return (
    [join(SHARED, "fixtures", path), join(VENDORED, path)].find((candidate) => existsSync(candidate)) ?? null
  );
}

/** Path of a model, from the shared folder or this workspace, or null. */
export function model(path: string): string | null {
  return (
    [join(SHARED, "models", path), join(ROOT, "models", path)].find((candidate) => existsSync(candidate)) ??
    null
  );
}

/** A temporary folder that is removed when `dispose` is called. */
export function temporaryFolder(): { path: string; dispose: () => void } {
  const path = mkdtempSync(join(tmpdir(), "flashlm-test-"));
  return { path, dispose: () => rmSync(path, { recursive: true, force: true }) };
}

/** A family's checkpoint whose config.json is the legacy one. */
export function legacyCheckpoint(path: string, into: string): string {
  const target = join(into, "legacy");
  cpSync(path, target, { recursive: true });
  renameSync(join(target, "config.legacy.json"), join(target, "config.json"));
  return target;
}

/** One f32 or i64 tensor of a safetensors file, as numbers. */
export function readTensor(
  path: string,
  name: string,
): { shape: number[]; data: Float32Array | BigInt64Array | Int32Array } {
  const bytes = readFileSync(path);
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerLength)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const entry = header[name];
  if (!entry) throw new Error(`${path} has no tensor ${name}`);
  const copy = bytes.buffer.slice(
    bytes.byteOffset + 8 + headerLength + entry.data_offsets[0],
    bytes.byteOffset + 8 + headerLength + entry.data_offsets[1],
  );
  const data =
    entry.dtype === "F32"
      ? new Float32Array(copy)
      : entry.dtype === "I64"
        ? new BigInt64Array(copy)
        : new Int32Array(copy);
  return { shape: entry.shape, data };
}

/** What a family fixture expects. */
export interface Expected {
  readonly prompt: number[];
  readonly greedy: number[];
  readonly probe: number[];
}

/** Reads a JSON file. */
export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, "utf8")) as T;
}
