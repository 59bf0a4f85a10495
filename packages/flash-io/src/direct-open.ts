import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { DirectIoMode, OpenedFile } from "./shared-rings.js";

/** Alignments that devices and file systems ask for, smallest first. */
const ALIGNMENTS_BYTES = [512, 4096] as const;

/** An open file and its descriptor. */
export interface OpenHandle extends OpenedFile {
  readonly descriptor: number;
}

/** Thrown by {@link openForReading}; crosses threads as plain fields. */
export class OpenRefusal extends Error {
  readonly path: string;
  readonly errorCode: string;
  readonly errorNumber: number;
  constructor(path: string, message: string, cause?: unknown) {
    super(message);
    this.path = path;
    const fault = cause as NodeJS.ErrnoException | undefined;
    this.errorCode = fault?.code ?? "";
    this.errorNumber = fault?.errno ?? 0;
  }
}

/**
 * Opens `path` for reading, past the page cache where `mode` and the file system allow it. The alignment is found
 * by a real read, because neither stat's block size nor the platform tells it.
 * `probe` is page-aligned memory of at least 8192 bytes.
 * @throws OpenRefusal.
 */
export function openForReading(path: string, mode: DirectIoMode, probe: Uint8Array): OpenHandle {
  const plain = openPlain(path);
  try {
    const stat = fstatSync(plain);
    if (!stat.isFile()) throw new OpenRefusal(path, "it is not a regular file");
    const buffered = { path, sizeBytes: stat.size, alignmentBytes: 1, descriptor: plain };
    if (mode === "off") return { ...buffered, note: "direct I/O was switched off" };
    const attempt = openDirect(path, stat.size, probe);
    if (typeof attempt === "string") {
      if (mode === "required") throw new OpenRefusal(path, `direct I/O is required, but ${attempt}`);
      return { ...buffered, note: attempt };
    }
    closeSync(plain);
    return { ...buffered, ...attempt, note: "" };
  } catch (error) {
    closeSync(plain);
    if (error instanceof OpenRefusal) throw error;
    throw new OpenRefusal(path, (error as Error).message, error);
  }
}

function openPlain(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY);
  } catch (error) {
    throw new OpenRefusal(path, (error as Error).message, error);
  }
}

function openDirect(
  path: string,
  sizeBytes: number,
  probe: Uint8Array,
): { readonly descriptor: number; readonly alignmentBytes: number } | string {
  // Absent on platforms without O_DIRECT, whatever the type says.
  const flag = constants.O_DIRECT as number | undefined;
  if (flag === undefined) return `O_DIRECT does not exist on ${process.platform}`;
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | flag);
  } catch (error) {
    return `O_DIRECT was refused by the file system (${(error as NodeJS.ErrnoException).code})`;
  }
  let refusal = "";
  for (const alignmentBytes of ALIGNMENTS_BYTES) {
    try {
      const positionBytes = sizeBytes > alignmentBytes ? alignmentBytes : 0;
      readSync(descriptor, probe, alignmentBytes, alignmentBytes, positionBytes);
      return { descriptor, alignmentBytes };
    } catch (error) {
      refusal = `an aligned O_DIRECT read was refused (${(error as NodeJS.ErrnoException).code})`;
    }
  }
  closeSync(descriptor);
  return refusal;
}
