import type { BundleIndex, KernelProgram, KernelSet, WeightRef } from "@flashlm/contracts";
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
