import type {
  BundleIndex,
  KernelOp,
  KernelProgram,
  KernelSet,
  MemoryHandle,
  WeightRef,
} from "@flashlm/contracts";
import { layerTensor } from "./blocks.js";
import { LayerOps } from "./families/layer-ops.js";
import { findFamily } from "./families/registry.js";
import type { MemoryPlan } from "./memory-plan.js";
import type { Residency } from "./residency.js";
import type { RunState } from "./run-state.js";

/** Compiles what the model's family does around the FFN of each layer. @throws ENGINE_CONTRACT for an unknown family. */
export function compileLayers(
  bundle: BundleIndex,
  plan: MemoryPlan,
  state: RunState,
  residency: Residency,
  kernels: KernelSet,
): { attentionPrograms: KernelProgram[]; joinPrograms: (KernelProgram | null)[] } {
  const family = findFamily(bundle.manifest.model.family);
  const layers = bundle.manifest.layers.map((_, layerIndex) => {
    const weight = (name: string): WeightRef =>
      residency.weight(`attention.${layerIndex}`, bundle.tensor(`layers.${layerIndex}.${name}`));
    const vector = (name: string): WeightRef["base"] | undefined =>
      layerTensor(bundle, layerIndex, name) ? weight(name).base : undefined;
    return new LayerOps({ bundle, plan, state, layerIndex, weight, vector });
  });
  return {
    attentionPrograms: layers.map((layer) => kernels.compile(family.attention(layer))),
    joinPrograms: layers.map((layer) => (family.afterFfn ? kernels.compile(family.afterFfn(layer)) : null)),
  };
}

/** Ops from the residual stream in `state.headInput` to logits. */
function headOps(bundle: BundleIndex, state: RunState, residency: Residency): KernelOp[] {
  const { model } = bundle.manifest;
  const tokenCount = state.headTokenCountWord;
  const weight = (name: string): WeightRef => residency.weight(name, bundle.tensor(name));
  const bias = (name: string): { bias?: WeightRef["base"] } =>
    bundle.hasTensor(name) ? { bias: weight(name).base } : {};
  const ops: KernelOp[] = [];
  if (model.norm.final !== false)
    ops.push({
      op: "norm",
      kind: model.norm.kind,
      tokenCount,
      rowsPerToken: 1,
      dim: model.hiddenSize,
      epsilon: model.norm.epsilon,
      source: state.headInput,
      target: state.headInput,
      weight: weight("final_norm.weight").base,
      ...bias("final_norm.bias"),
    });
  if (bundle.hasTensor("head.projection.weight"))
    ops.push({
      op: "matmul",
      tokenCount,
      weight: weight("head.projection.weight"),
      source: state.headInput,
      target: state.headProjected,
      accumulate: false,
    });
  ops.push({
    op: "matmul",
    tokenCount,
    weight: weight(model.tiedEmbeddings ? "embedding.weight" : "head.weight"),
    source: state.headProjected,
    target: state.logits.base,
    accumulate: false,
    ...bias("head.bias"),
  });
  const cap = model.head?.softCap;
  if (cap !== undefined)
    ops.push({ op: "softCap", tokenCount, dim: model.vocabularySize, cap, vector: state.logits.base });
  return ops;
}

/** Makes the function that turns rows of the residual stream, at most `logitRowCount`, into `state.logits`. */
export function createHead(
  bundle: BundleIndex,
  state: RunState,
  residency: Residency,
  kernels: KernelSet,
): (firstRow: number, rowCount: number) => Promise<void> {
  const program = kernels.compile(headOps(bundle, state, residency));
  const rowBytes = bundle.manifest.model.hiddenSize * 4;
  return async (firstRow, rowCount) => {
    const from: MemoryHandle = {
      arenaId: state.hidden.arenaId,
      offsetBytes: state.hidden.offsetBytes + firstRow * rowBytes,
    };
    kernels.memory
      .bytes(state.headInput, rowCount * rowBytes)
      .set(kernels.memory.bytes(from, rowCount * rowBytes));
    state.headTokenCount[0] = rowCount;
    const running = kernels.run(program);
    if (running) await running;
  };
}
