import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename } from "node:path";
import { FlashlmError } from "@flashlm/contracts";

/** Bytes per read. */
const READ_BYTES = 1 << 20;

/** Called about once per MiB with the bytes hashed so far and in all. */
export type HashProgress = (hashedBytes: number, totalBytes: number) => void;

/**
 * SHA-256 of a checkpoint's content, in lower-case hexadecimal. One file: the hash of its bytes, as published beside
 * downloads. Several: the hash of the lines `HASH  NAME\n` of each, in order of their names.
 * @param paths - files, e.g. `Checkpoint.paths`.
 * @param onProgress - optional.
 * @throws CHECKPOINT_NOT_FOUND where a file is missing or cannot be read.
 */
export async function hashCheckpoint(paths: readonly string[], onProgress?: HashProgress): Promise<string> {
  const state = { hashedBytes: 0, totalBytes: 0 };
  const lines: string[] = [];
  const buffer = new Uint8Array(READ_BYTES);
  try {
    for (const path of paths) state.totalBytes += statSync(path).size;
    for (const path of paths) {
      const hash = createHash("sha256");
      for await (const chunk of chunksOf(path, buffer)) {
        hash.update(chunk);
        state.hashedBytes += chunk.length;
        onProgress?.(state.hashedBytes, state.totalBytes);
      }
      const digest = hash.digest("hex");
      if (paths.length === 1) return digest;
      lines.push(`${basename(path)}\0${digest}`);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw new FlashlmError("CHECKPOINT_NOT_FOUND", "a file of the checkpoint cannot be read", {}, error);
  }
  const total = createHash("sha256");
  for (const line of lines.sort()) {
    const [name, digest] = line.split("\0");
    total.update(`${digest}  ${name}\n`);
  }
  return total.digest("hex");
}

/** A file piece by piece through one buffer: a stream's new ones would stay in memory until they are collected. */
async function* chunksOf(path: string, buffer: Uint8Array): AsyncIterable<Uint8Array> {
  const file = await open(path);
  try {
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
