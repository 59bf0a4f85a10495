import {
  type BundleIndex,
  type KernelOp,
  type KernelProgram,
  type KernelSet,
  rowBytes,
  type WeightRef,
} from "@flashlm/contracts";
import { layerTensor } from "./blocks.js";
import { LayerOps } from "./families/layer-ops.js";
import { findFamily } from "./families/registry.js";
import type { MemoryPlan } from "./memory-plan.js";
import type { Residency } from "./residency.js";
import type { RunState } from "./run-state.js";

/**
 * Weights that a piece of a layer's attention reads at least: milliseconds, in which a disk ends fewer reads than are under way, and beside which the tenth of one that
 * passes between two programs is little.
 */
const PIECE_BYTES_MIN = 48 * 1024 * 1024;

/** Splits a layer's ops into pieces, after each of which the engine looks at its reads and at whether to stop. */
export function pieces(ops: readonly KernelOp[]): KernelOp[][] {
  const split: KernelOp[][] = [[]];
  let restBytes = ops.reduce((total, op) => total + weightBytes(op), 0);
  let pieceBytes = 0;
  for (const op of ops) {
    if (pieceBytes >= PIECE_BYTES_MIN && restBytes >= PIECE_BYTES_MIN) {
      split.push([]);
      pieceBytes = 0;
    }
    split.at(-1)!.push(op);
    pieceBytes += weightBytes(op);
    restBytes -= weightBytes(op);
  }
  return split;
}

function weightBytes(op: KernelOp): number {
  return op.op === "matmul" ? op.weight.rowCount * rowBytes(op.weight.dtype, op.weight.columnCount) : 0;
}

/** Compiles what the model's family does around the FFN of each layer; attention in one piece or, with large weights, in several. @throws ENGINE_CONTRACT for an unknown family. */
export function compileLayers(
  bundle: BundleIndex,
  plan: MemoryPlan,
  state: RunState,
  residency: Residency,
  kernels: KernelSet,
): { attentionPrograms: KernelProgram[][]; joinPrograms: (KernelProgram | null)[] } {
  const family = findFamily(bundle.manifest.model.family);
  const layers = bundle.manifest.layers.map((_, layerIndex) => {
    const weight = (name: string): WeightRef =>
      residency.weight(`attention.${layerIndex}`, bundle.tensor(`layers.${layerIndex}.${name}`));
    const vector = (name: string): WeightRef["base"] | undefined =>
      layerTensor(bundle, layerIndex, name) ? weight(name).base : undefined;
    return new LayerOps({ bundle, plan, state, layerIndex, weight, vector });
  });
  return {
    attentionPrograms: layers.map((layer) =>
      pieces(family.attention(layer)).map((ops) => kernels.compile(ops)),
    ),
    joinPrograms: layers.map((layer) => (family.afterFfn ? kernels.compile(family.afterFfn(layer)) : null)),
  };
}
