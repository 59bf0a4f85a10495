import type { FileHandle } from "node:fs/promises";
import { join, resolve } from "node:path";
import { BUNDLE_FILES, type BundleFileIndex, FlashlmError } from "@flashlm/contracts";
import type { BundleDocument } from "../format/bundle-json.js";
import { type PlannedTensor, planNeurons, tensorFileHeader } from "../format/bundle-plan.js";
import { crc32c } from "../format/crc32c.js";
import { openBundleFile, readExactly } from "./bundle-files.js";
import { readBundle } from "./open-bundle.js";

/** Bytes read at once. */
const PIECE_BYTES: number = 4 * 1024 * 1024;

/** How far {@link verifyBundle} is. */
export interface VerifyProgress {
  /** Share of all bytes, 0 to 1. */
  readonly doneShare: number;
}

/** A part of a file with one checksum: `strideBytes` of each, `count` of them in a row; `null` checksums mean zeros. */
interface Region {
  readonly name: string;
  readonly offsetBytes: number;
  readonly strideBytes: number;
  readonly checksums: ArrayLike<number> | null;
}

/**
 * Reads a whole bundle, 4 MiB at a time, and compares every checksum.
 * @throws BUNDLE_CHECKSUM with the file and the tensor, or the layer and record, that differs; whatever `openBundle` throws.
 */
export async function verifyBundle(
  path: string,
  onProgress?: (progress: VerifyProgress) => void,
): Promise<void> {
  const bundlePath = resolve(path);
  const { document, tables } = await readBundle(bundlePath);
  const totalBytes = document.files.reduce((sum, file) => sum + file.sizeBytes, 0);
  let doneBytes = 0;
  const onBytes = (lengthBytes: number): void => {
    doneBytes += lengthBytes;
    onProgress?.({ doneShare: Math.min(1, doneBytes / totalBytes) });
  };
  for (const entry of document.files) {
    const filePath = join(bundlePath, entry.name);
    const fileIndex = (BUNDLE_FILES as readonly string[]).indexOf(entry.name);
    const file = await openBundleFile(filePath);
    try {
      const reader = new RegionReader(file, filePath, onBytes);
      if (fileIndex < 0)
        await reader.check({
          name: "content",
          offsetBytes: 0,
          strideBytes: entry.sizeBytes,
          checksums: [entry.crc32c!],
        });
      else
        await checkWeightFile(
          reader,
          document,
          fileIndex as BundleFileIndex,
          entry.sizeBytes,
          tables.recordChecksums,
        );
    } finally {
      await file.close();
    }
  }
  onProgress?.({ doneShare: 1 });
}

async function checkWeightFile(
  reader: RegionReader,
  document: BundleDocument,
  fileIndex: BundleFileIndex,
  sizeBytes: number,
  recordChecksums: readonly Uint32Array[],
): Promise<void> {
  const regions =
    fileIndex === 1 ? recordRegions(document, recordChecksums) : tensorRegions(document, fileIndex);
  const first = regions[0]?.offsetBytes ?? sizeBytes;
  const header = headerOf(document, fileIndex, sizeBytes, first);
  await reader.check({ name: "header", offsetBytes: 0, strideBytes: first, checksums: [crc32c(header)] });
  let end = first;
  for (const region of regions) {
    if (region.offsetBytes > end)
      await reader.check({
        name: "padding",
        offsetBytes: end,
        strideBytes: region.offsetBytes - end,
        checksums: null,
      });
    await reader.check(region);
    end = region.offsetBytes + region.strideBytes * (region.checksums?.length ?? 1);
  }
  if (sizeBytes > end)
    await reader.check({ name: "padding", offsetBytes: end, strideBytes: sizeBytes - end, checksums: null });
}

function recordRegions(document: BundleDocument, checksums: readonly Uint32Array[]): Region[] {
  const { strideBytes } = document.record;
  return document.layers.map(({ offsetBytes }, layer) => ({
    name: `layers.${layer}.records`,
    offsetBytes,
    strideBytes,
    checksums: checksums[layer]!,
  }));
}

function tensorRegions(document: BundleDocument, fileIndex: BundleFileIndex): Region[] {
  const tensors = document.tensors
    .filter((tensor) => tensor.fileIndex === fileIndex)
    .sort((a, b) => a.offsetBytes - b.offsetBytes);
  return tensors.map(({ name, offsetBytes, lengthBytes, crc32c: checksum }) => ({
    name,
    offsetBytes,
    strideBytes: lengthBytes,
    checksums: [checksum],
  }));
}

/** The safetensors header that a file of these tensors or records must have: it follows from `bundle.json`. */
function headerOf(
  document: BundleDocument,
  fileIndex: BundleFileIndex,
  sizeBytes: number,
  headerBytes: number,
): Uint8Array {
  if (fileIndex === 1)
    return planNeurons(
      document.layers.map((layer) => layer.neuronCount),
      document.record.strideBytes,
    ).file.header;
  const tensors = document.tensors
    .filter((tensor) => tensor.fileIndex === fileIndex)
    .sort((a, b) => a.offsetBytes - b.offsetBytes)
    .map(
      (tensor): PlannedTensor => ({ ...tensor, fileIndex, offsetBytes: tensor.offsetBytes - headerBytes }),
    );
  return tensorFileHeader(tensors, sizeBytes - headerBytes);
}

/** Reads regions of one file and compares their checksums. */
class RegionReader {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #onBytes: (lengthBytes: number) => void;
  readonly #piece: Uint8Array = new Uint8Array(PIECE_BYTES);

  constructor(file: FileHandle, path: string, onBytes: (lengthBytes: number) => void) {
    this.#file = file;
    this.#path = path;
    this.#onBytes = onBytes;
  }

  async check(region: Region): Promise<void> {
    const { strideBytes, checksums, offsetBytes } = region;
    const totalBytes = strideBytes * (checksums?.length ?? 1);
    let sum = 0;
    for (let done = 0; done < totalBytes; ) {
      const piece = this.#piece.subarray(0, Math.min(PIECE_BYTES, totalBytes - done));
      await readExactly(this.#file, this.#path, piece, offsetBytes + done);
      for (let at = 0; at < piece.length; ) {
        const within = (done + at) % strideBytes;
        const part = piece.subarray(at, Math.min(piece.length, at + strideBytes - within));
        sum = crc32c(part, within === 0 ? 0 : sum);
        if (checksums === null) this.#requireZeros(part, region);
        else if (within + part.length === strideBytes)
          this.#compare(region, (done + at - within) / strideBytes, sum);
        at += part.length;
      }
      done += piece.length;
      this.#onBytes(piece.length);
    }
  }

  #requireZeros(bytes: Uint8Array, region: Region): void {
    if (bytes.some((byte) => byte !== 0)) this.#refuse(region.name, 0, 1);
  }

  #compare(region: Region, index: number, sum: number): void {
    const checksums = region.checksums!;
    if (checksums[index] !== sum) this.#refuse(region.name, index, checksums.length);
  }

  #refuse(name: string, index: number, count: number): never {
    const what = count > 1 ? `record ${index} of ${name}` : name;
    throw new FlashlmError(
      "BUNDLE_CHECKSUM",
      `${this.#path}: ${what} was changed or damaged: copy or make the bundle again`,
      {
        path: this.#path,
        name,
        index,
      },
    );
  }
}
