import { FlashlmError, isBlockDtype, type WeightDtype } from "@flashlm/contracts";
import type { Checkpoint } from "../sources/checkpoint.js";
import { type BundleDtypes, fitsBlocks, isStoredAs, partDtype, residentDtypeFor } from "./record-layout.js";

/** Every dtype a bundle can have. */
export const WEIGHT_DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];

/** What a bundle's weights will be, why, and what that changes. */
export interface DtypeChoice {
  readonly dtype: WeightDtype;
  /** Of attention projections, token embedding and head, where they do not follow `dtype`. */
  readonly residentDtype?: WeightDtype;
  /** Why, for people. */
  readonly reason: string;
  /** One line per kind of change to weights, for people; empty when every weight keeps its value. */
  readonly lossy: readonly string[];
}

const PLAIN_TYPES: Readonly<Record<string, WeightDtype>> = { F32: "f32", F16: "f16", BF16: "bf16" };

/**
 * The dtype for a checkpoint: the one asked for, or one that keeps the source's quality. `residentDtype` asks for another one for attention
 * projections, token embedding and head.
 * @throws BUNDLE_DTYPE when what is asked for is unknown or its blocks do not fit the model.
 */
export function chooseDtype(
  checkpoint: Checkpoint,
  requested?: WeightDtype,
  residentDtype?: WeightDtype,
): DtypeChoice {
  const { dtype, reason } =
    requested === undefined ? defaultDtype(checkpoint) : requestedDtype(checkpoint, requested);
  const residents = residentDtype === undefined ? null : requestedDtype(checkpoint, residentDtype);
  if (residents === null || followsAnyway(dtype, residents.dtype))
    return { dtype, reason, lossy: lossyChanges(checkpoint, { dtype }) };
  return {
    dtype,
    residentDtype: residents.dtype,
    reason: `${reason}; for attention and embeddings ${residents.reason}`,
    lossy: lossyChanges(checkpoint, { dtype, residentDtype: residents.dtype }),
  };
}

/** True where asking changes nothing. Residents of 4-bit bundles are q8_0 unless the checkpoint has the blocks, so there it does. */
function followsAnyway(dtype: WeightDtype, residentDtype: WeightDtype): boolean {
  return dtype === residentDtype && dtype !== "q4_0" && dtype !== "q4_1";
}

function requestedDtype(checkpoint: Checkpoint, dtype: WeightDtype): { dtype: WeightDtype; reason: string } {
  const hiddenSize = checkpoint.model.hiddenSize;
  if (!WEIGHT_DTYPES.includes(dtype)) {
    const message = `unknown dtype "${String(dtype)}": expected one of ${WEIGHT_DTYPES.join(", ")}`;
    throw new FlashlmError("BUNDLE_DTYPE", message, { dtype: String(dtype) });
  }
  if (isBlockDtype(dtype) && !fitsBlocks(hiddenSize)) {
    const message = `${dtype} packs weights in blocks of 32, but the hidden size of "${checkpoint.name}" is ${hiddenSize}: ask for f16, bf16 or f32`;
    throw new FlashlmError("BUNDLE_DTYPE", message, { dtype, hiddenSize });
  }
  return { dtype, reason: `${dtype} was asked for` };
}

function defaultDtype(checkpoint: Checkpoint): { dtype: WeightDtype; reason: string } {
  const source = checkpoint.dominantType.toUpperCase();
  const plain = PLAIN_TYPES[source];
  if (plain !== undefined)
    return {
      dtype: plain,
      reason: `the source's weights are ${source}, and ${plain} keeps them as they are`,
    };
  const hiddenSize = checkpoint.model.hiddenSize;
  if (!fitsBlocks(hiddenSize)) {
    const reason = `the source's weights are ${source}; blocks of 32 do not fit its hidden size of ${hiddenSize}, so f16`;
    return { dtype: "f16", reason };
  }
  const kept = WEIGHT_DTYPES.find((dtype) => isBlockDtype(dtype) && isStoredAs(source, dtype));
  if (kept !== undefined && gatesAre(checkpoint, source))
    return {
      dtype: kept,
      reason: `the source's weights are ${source}, and ${kept} keeps its blocks; FFN down becomes q8_0, because its blocks run along the other axis`,
    };
  const cost = "requantising to q8_0 costs 0.7 % perplexity where it was measured, q4_0 1.8 to 2.7 %";
  return {
    dtype: "q8_0",
    reason: `the source's weights are ${source}, and q8_0 keeps their quality: ${cost}`,
  };
}

/** True where the parts of records that keep their blocks are all of one source type. */
function gatesAre(checkpoint: Checkpoint, source: string): boolean {
  const parts = [...checkpoint.tensors.values()].filter(({ name }) => /\.ffn\.(gate|up)\.weight$/.test(name));
  return parts.every(({ sourceType }) => sourceType.toUpperCase() === source);
}

/** Whether weights of a source type keep their values in `target`; `transposed` when blocks run along another axis. */
function keepsValues(sourceType: string, target: WeightDtype, transposed: boolean): boolean {
  if (target === "f32") return true;
  if (PLAIN_TYPES[sourceType] === target) return true;
  return !transposed && isStoredAs(sourceType, target);
}

/** True where gate and up vectors are rounded to q4_0 from something else. */
export function roundsToFourBits({ lossy }: DtypeChoice): boolean {
  return lossy.some((line) => line.includes("-> q4_0 (FFN gate and up"));
}

function lossyChanges(checkpoint: Checkpoint, dtypes: BundleDtypes): readonly string[] {
  const counts = new Map<string, number>();
  for (const tensor of checkpoint.tensors.values()) {
    const columnCount = tensor.shape.at(-1) ?? 1;
    if (tensor.shape.length < 2) continue;
    const match = /\.ffn\.(gate|up|down)\.weight$/.exec(tensor.name);
    const part = match?.[1] as "gate" | "up" | "down" | undefined;
    const sourceType = tensor.sourceType.toUpperCase();
    const rowCount = tensor.shape[0]!;
    const target =
      part === undefined
        ? residentDtypeFor(dtypes, { name: tensor.name, rowCount, columnCount }, sourceType)
        : partDtype(dtypes.dtype, part);
    if (keepsValues(sourceType, target, part === "down")) continue;
    const kind =
      part === "down"
        ? "FFN down, blocks along the column"
        : part === undefined
          ? "attention and embeddings"
          : "FFN gate and up";
    const line = `${sourceType} -> ${target} (${kind})`;
    counts.set(line, (counts.get(line) ?? 0) + 1);
  }
  return [...counts].map(([line, count]) => `${line}: ${count} tensor${count === 1 ? "" : "s"}`).sort();
}
