import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Folder of the reference files, beside the project. */
export const SHARED: string = fileURLToPath(new URL("../../../../../shared/", import.meta.url));
/** False where a clone stands alone; tests that need the files are skipped then. */
export const hasShared: boolean = existsSync(`${SHARED}fixtures/gguf`);

interface Entry {
  readonly dtype: string;
  readonly shape: number[];
  readonly data_offsets: [number, number];
}

/** Reads all F32 tensors of a safetensors file, without any code under test. */
export function readF32Tensors(path: string): Map<string, { shape: number[]; values: Float32Array }> {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes)) as Record<string, Entry>;
  const tensors = new Map<string, { shape: number[]; values: Float32Array }>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__" || entry.dtype !== "F32") continue;
    const [begin, end] = entry.data_offsets.map((offset) => 8 + headerBytes + offset) as [number, number];
    const copy = bytes.buffer.slice(bytes.byteOffset + begin, bytes.byteOffset + end);
    tensors.set(name, { shape: entry.shape, values: new Float32Array(copy as ArrayBuffer) });
  }
  return tensors;
}
