import { alignUp } from "@flashlm/contracts";
import type { FillRecipe, SyntheticTensor } from "./fill-recipe.js";
import { seedOfName } from "./random.js";
import { elementBytes, type SyntheticDtype } from "./row-filler.js";

/** Most bytes of one safetensors file, as published checkpoints have it. */
export const SHARD_BYTES_MAX = 5_000_000_000;
const HEADER_ALIGNMENT_BYTES = 64;
const INDEX_NAME = "model.safetensors.index.json";
const SAFETENSORS_DTYPES: Readonly<Record<SyntheticDtype, string>> = {
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  q8_0: "U8",
};

/** A tensor's place in a file. */
export interface PlannedTensor {
  readonly recipe: FillRecipe;
  readonly dtype: SyntheticDtype;
  readonly seed: number;
  readonly rowCount: number;
  readonly columnCount: number;
  readonly rowBytes: number;
  /** From the start of the file. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** A file that threads fill: a header, then tensors, in order of their offsets. Plain data. */
export interface PlannedFile {
  readonly name: string;
  readonly header: Uint8Array;
  readonly tensors: readonly PlannedTensor[];
  readonly sizeBytes: number;
}

/** Places a tensor. A vector is one row. */
export function planTensor(
  tensor: SyntheticTensor,
  dtype: SyntheticDtype,
  seed: number,
  offsetBytes: number,
): PlannedTensor {
  const columnCount = tensor.shape.at(-1)!;
  const rowCount = tensor.shape.length === 1 ? 1 : tensor.shape[0]!;
  const rowBytes = elementBytes(dtype, columnCount);
  return {
    recipe: tensor.recipe,
    dtype,
    seed: seedOfName(seed, tensor.name),
    rowCount,
    columnCount,
    rowBytes,
    offsetBytes,
    lengthBytes: rowCount * rowBytes,
  };
}

const bytesOf = (tensor: SyntheticTensor, dtype: SyntheticDtype): number =>
  elementBytes(
    dtype,
    tensor.shape.reduce((product, count) => product * count, 1),
  );

function splitIntoShards(
  tensors: readonly SyntheticTensor[],
  dtype: SyntheticDtype,
  shardBytesMax: number,
): SyntheticTensor[][] {
  const shards: SyntheticTensor[][] = [[]];
  let shardBytes = 0;
  for (const tensor of tensors) {
    const lengthBytes = bytesOf(tensor, dtype);
    if (shardBytes > 0 && shardBytes + lengthBytes > shardBytesMax) {
      shards.push([]);
      shardBytes = 0;
    }
    shards.at(-1)!.push(tensor);
    shardBytes += lengthBytes;
  }
  return shards;
}

function planShard(
  name: string,
  tensors: readonly SyntheticTensor[],
  dtype: SyntheticDtype,
  seed: number,
): PlannedFile {
  const entries: Record<string, unknown> = { __metadata__: { format: "pt", synthetic: "true" } };
  let end = 0;
  for (const tensor of tensors) {
    const begin = end;
    end += bytesOf(tensor, dtype);
    entries[tensor.name] = {
      dtype: SAFETENSORS_DTYPES[dtype],
      shape: tensor.shape,
      data_offsets: [begin, end],
    };
  }
  const text = new TextEncoder().encode(JSON.stringify(entries));
  const header = new Uint8Array(alignUp(8 + text.length, HEADER_ALIGNMENT_BYTES)).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(text, 8);
  const planned: PlannedTensor[] = [];
  let offsetBytes = header.length;
  for (const tensor of tensors) {
    const place = planTensor(tensor, dtype, seed, offsetBytes);
    planned.push(place);
    offsetBytes += place.lengthBytes;
  }
  return { name, header, tensors: planned, sizeBytes: offsetBytes };
}

/** The safetensors files of a checkpoint, and the index where there are several. */
export function planSafetensors(
  tensors: readonly SyntheticTensor[],
  dtype: SyntheticDtype,
  seed: number,
  shardBytesMax: number,
): { files: PlannedFile[]; index: { name: string; text: string } | null } {
  const shards = splitIntoShards(tensors, dtype, shardBytesMax);
  if (shards.length === 1)
    return { files: [planShard("model.safetensors", tensors, dtype, seed)], index: null };
  const padded = (number: number): string => String(number).padStart(5, "0");
  const weightMap: Record<string, string> = {};
  const files = shards.map((shard, number) => {
    const name = `model-${padded(number + 1)}-of-${padded(shards.length)}.safetensors`;
    for (const tensor of shard) weightMap[tensor.name] = name;
    return planShard(name, shard, dtype, seed);
  });
  const totalBytes = tensors.reduce((sum, tensor) => sum + bytesOf(tensor, dtype), 0);
  const text = `${JSON.stringify({ metadata: { total_size: totalBytes }, weight_map: weightMap }, null, 2)}\n`;
  return { files, index: { name: INDEX_NAME, text } };
}
