import type { FileHandle } from "node:fs/promises";
import { isBlockDtype, rowBytes, type WeightDtype } from "@flashlm/contracts";
import { encodeRow } from "../codecs/index.js";
import { type InputMoments, MeasuredRounder } from "../codecs/measured-rounding.js";
import type { BundlePlan, PlannedTensor } from "../format/bundle-plan.js";
import { crc32c } from "../format/crc32c.js";
import { isStoredAs } from "../format/record-layout.js";
import type { Checkpoint } from "../sources/checkpoint.js";

/** f32 bytes of source rows held at once. */
const BLOCK_BYTES: number = 8 * 1024 * 1024;
/** f32 bytes of down-projection rows held at once (at least 32 rows: a block of q8_0 is 32 of them). */
const STRIP_BYTES: number = 64 * 1024 * 1024;
/** Encoded down columns held at once; a layer with more is written in several passes over its down projection. */
const COLUMNS_BYTES: number = 96 * 1024 * 1024;
/** Neurons gathered together from a strip: one cache line of f32. */
const TILE_NEURONS = 16;

/** What writing a section needs. Files are in `fileIndex` order. */
export interface SectionTarget {
  readonly checkpoint: Checkpoint;
  readonly plan: BundlePlan;
  readonly files: readonly FileHandle[];
  /** Moments of each layer's FFN inputs, where gate and up are to be rounded by them. */
  readonly inputMoments?: ((layerIndex: number) => InputMoments) | undefined;
  /** Called with every piece written; throws when the work was aborted. */
  readonly onBytes: (lengthBytes: number) => void;
}

/** True where the bytes of a checkpoint's tensor are those of the bundle: blocks that were decoded and encoded again might differ. */
function keepsBlocks(checkpoint: Checkpoint, name: string, dtype: WeightDtype): boolean {
  return isBlockDtype(dtype) && isStoredAs(checkpoint.tensors.get(name)?.sourceType ?? "", dtype);
}

/** Writes all bytes at a position. */
export async function writeAt(file: FileHandle, bytes: Uint8Array, positionBytes: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, positionBytes + done);
    done += bytesWritten;
  }
}

/** Encodes and writes one tensor of the resident file; returns its CRC32C. Holds one block of rows. */
export async function writeTensor(target: SectionTarget, tensor: PlannedTensor): Promise<number> {
  const { columnCount, rowCount, dtype } = tensor;
  const stride = rowBytes(dtype, columnCount);
  const blockRows = Math.max(1, Math.min(rowCount, Math.floor(BLOCK_BYTES / (columnCount * 4))));
  const source = new Float32Array(blockRows * columnCount);
  const encoded = new Uint8Array(blockRows * stride);
  const keeps = keepsBlocks(target.checkpoint, tensor.name, dtype);
  let checksum = 0;
  for (let begin = 0; begin < rowCount; begin += blockRows) {
    const count = Math.min(blockRows, rowCount - begin);
    if (keeps) target.checkpoint.readStored(tensor.name, begin, begin + count, encoded);
    else {
      const rows = source.subarray(0, count * columnCount);
      target.checkpoint.readRows(tensor.name, begin, begin + count, rows);
      encodeRow(dtype, rows, encoded.subarray(0, count * stride));
    }
    const bytes = encoded.subarray(0, count * stride);
    checksum = crc32c(bytes, checksum);
    await writeAt(target.files[tensor.fileIndex]!, bytes, tensor.offsetBytes + begin * stride);
    target.onBytes(bytes.length);
  }
  return checksum;
}

/** Encoded down columns of neurons `begin` to before `end`, and their L2 norms into `norms` (by neuron). */
function encodeColumns(
  target: SectionTarget,
  layer: number,
  begin: number,
  end: number,
  dtype: WeightDtype,
  norms: Float32Array,
): Uint8Array {
  const { hiddenSize } = target.plan.record;
  const neuronCount = target.plan.layers[layer]!.neuronCount;
  const columnBytes = rowBytes(dtype, hiddenSize);
  const columns = new Uint8Array((end - begin) * columnBytes);
  const squares = new Float64Array(end - begin);
  const fitting = Math.floor(STRIP_BYTES / (neuronCount * 4));
  const stripRows = Math.min(hiddenSize, Math.max(32, fitting - (fitting % 32)));
  const strip = new Float32Array(stripRows * neuronCount);
  const tile = new Float32Array(TILE_NEURONS * stripRows);
  for (let rowBegin = 0; rowBegin < hiddenSize; rowBegin += stripRows) {
    const rowCount = Math.min(stripRows, hiddenSize - rowBegin);
    target.checkpoint.readRows(
      `layers.${layer}.ffn.down.weight`,
      rowBegin,
      rowBegin + rowCount,
      strip.subarray(0, rowCount * neuronCount),
    );
    const offsetBytes = rowBytes(dtype, rowBegin);
    const lengthBytes = rowBytes(dtype, rowCount);
    for (let neuron = begin; neuron < end; neuron += TILE_NEURONS) {
      const width = Math.min(TILE_NEURONS, end - neuron);
      for (let row = 0; row < rowCount; row++) {
        const from = row * neuronCount + neuron;
        for (let lane = 0; lane < width; lane++) tile[lane * rowCount + row] = strip[from + lane]!;
      }
      for (let lane = 0; lane < width; lane++) {
        const column = tile.subarray(lane * rowCount, (lane + 1) * rowCount);
        const at = neuron + lane - begin;
        let sum = squares[at]!;
        for (let row = 0; row < rowCount; row++) sum += column[row]! * column[row]!;
        squares[at] = sum;
        const start = at * columnBytes + offsetBytes;
        encodeRow(dtype, column, columns.subarray(start, start + lengthBytes));
      }
    }
  }
  for (let at = 0; at < squares.length; at++) norms[begin + at] = Math.sqrt(squares[at]!);
  return columns;
}

/** A tensor of the predictor file that is written while its rows pass by. */
interface RowSink {
  readonly tensor: PlannedTensor;
  checksum: number;
}

/** Writes the records of a layer and its predictor tensors; returns record checksums and those of the tensors by name. */
export async function writeLayer(
  target: SectionTarget,
  layer: number,
): Promise<{ recordChecksums: Uint32Array; tensorChecksums: Record<string, number> }> {
  const { plan } = target;
  const { neuronCount } = plan.layers[layer]!;
  const recordChecksums = new Uint32Array(neuronCount);
  const norms = new Float32Array(neuronCount);
  const sinks = plan.tensors
    .filter((tensor) => tensor.fileIndex === 2 && tensor.name.startsWith(`layers.${layer}.`))
    .map((tensor): RowSink => ({ tensor, checksum: 0 }));
  const down = plan.record.parts.find((part) => part.part === "down")!;
  const rounder = rounderOf(target, layer);
  const passNeurons = Math.max(TILE_NEURONS, Math.floor(COLUMNS_BYTES / down.lengthBytes));
  for (let begin = 0; begin < neuronCount; begin += passNeurons) {
    const end = Math.min(neuronCount, begin + passNeurons);
    const columns = encodeColumns(target, layer, begin, end, down.dtype, norms);
    await writeRecords(target, layer, begin, end, columns, rounder, recordChecksums, sinks);
  }
  const normSink = sinks.find((sink) => sink.tensor.name.endsWith("shadow.down_norm"));
  if (normSink !== undefined) await appendRows(target, normSink, new Uint8Array(norms.buffer), 0);
  for (const sink of sinks) {
    const part = /\.exact\.(gate|up)\.bias$/.exec(sink.tensor.name)?.[1];
    if (part === undefined) continue;
    const bias = new Float32Array(neuronCount);
    target.checkpoint.readRows(`layers.${layer}.ffn.${part}.bias`, 0, 1, bias);
    await appendRows(target, sink, new Uint8Array(bias.buffer), 0);
  }
  const tensorChecksums = Object.fromEntries(sinks.map((sink) => [sink.tensor.name, sink.checksum]));
  return { recordChecksums, tensorChecksums };
}

/** What rounds a layer's gate and up vectors by its inputs, where those were measured and the vectors are q4_0. */
function rounderOf({ inputMoments, plan }: SectionTarget, layer: number): MeasuredRounder | null {
  const isRounded = plan.record.parts.some((part) => part.dtype === "q4_0");
  return inputMoments && isRounded ? new MeasuredRounder(inputMoments(layer), plan.record.hiddenSize) : null;
}

async function appendRows(
  target: SectionTarget,
  sink: RowSink,
  bytes: Uint8Array,
  offsetBytes: number,
): Promise<void> {
  sink.checksum = crc32c(bytes, sink.checksum);
  await writeAt(target.files[2]!, bytes, sink.tensor.offsetBytes + offsetBytes);
  target.onBytes(bytes.length);
}

function encodeVectors(
  dtype: WeightDtype,
  rows: Float32Array,
  vectors: readonly Uint8Array[],
  rounder: MeasuredRounder | null,
): void {
  if (rounder !== null && dtype === "q4_0") {
    rounder.encodeRows(rows, vectors);
    return;
  }
  const length = rows.length / Math.max(1, vectors.length);
  for (const [at, vector] of vectors.entries())
    encodeRow(dtype, rows.subarray(at * length, (at + 1) * length), vector);
}

async function writeRecords(
  target: SectionTarget,
  layer: number,
  begin: number,
  end: number,
  columns: Uint8Array,
  rounder: MeasuredRounder | null,
  checksums: Uint32Array,
  sinks: readonly RowSink[],
): Promise<void> {
  const { hiddenSize, strideBytes, parts } = target.plan.record;
  const blockCount = Math.max(1, Math.min(end - begin, Math.floor(BLOCK_BYTES / (hiddenSize * 4))));
  const source = new Float32Array(blockCount * hiddenSize);
  const records = new Uint8Array(blockCount * strideBytes);
  const stored = new Uint8Array(blockCount * Math.max(...parts.map((part) => part.lengthBytes)));
  for (let first = begin; first < end; first += blockCount) {
    const count = Math.min(blockCount, end - first);
    for (const part of parts) {
      const isDown = part.part === "down";
      const name = `layers.${layer}.ffn.${part.part}.weight`;
      const keeps = !isDown && keepsBlocks(target.checkpoint, name, part.dtype);
      if (!isDown)
        target.checkpoint.readRows(name, first, first + count, source.subarray(0, count * hiddenSize));
      if (keeps) target.checkpoint.readStored(name, first, first + count, stored);
      const vectors = Array.from({ length: count }, (_, at) => {
        const start = at * strideBytes + part.offsetBytes;
        return records.subarray(start, start + part.lengthBytes);
      });
      const copies = isDown ? columns.subarray((first - begin) * part.lengthBytes) : keeps ? stored : null;
      if (copies === null)
        encodeVectors(part.dtype, source.subarray(0, count * hiddenSize), vectors, rounder);
      else
        for (const [at, vector] of vectors.entries())
          vector.set(copies.subarray(at * part.lengthBytes, (at + 1) * part.lengthBytes));
      for (const sink of isDown
        ? []
        : sinks.filter((each) => each.tensor.name.endsWith(`.${part.part}.weight`))) {
        const stride = rowBytes(sink.tensor.dtype, hiddenSize);
        const rows = new Uint8Array(count * stride);
        for (let at = 0; at < count; at++) {
          const row = rows.subarray(at * stride, (at + 1) * stride);
          const start = at * strideBytes + part.offsetBytes;
          if (sink.tensor.name.includes(".exact."))
            row.set(records.subarray(start, start + part.lengthBytes));
          else encodeRow("q4_0", source.subarray(at * hiddenSize, (at + 1) * hiddenSize), row);
        }
        await appendRows(target, sink, rows, first * stride);
      }
    }
    for (let at = 0; at < count; at++)
      checksums[first + at] = crc32c(records.subarray(at * strideBytes, (at + 1) * strideBytes));
    const bytes = records.subarray(0, count * strideBytes);
    await writeAt(target.files[1]!, bytes, target.plan.layers[layer]!.offsetBytes + first * strideBytes);
    target.onBytes(bytes.length);
  }
}
