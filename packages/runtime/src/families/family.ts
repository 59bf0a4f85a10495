import type { BundleIndex, KernelOp, VectorRef, WeightRef } from "@flashlm/contracts";
import type { MemoryPlan } from "../memory-plan.js";
import type { RunState } from "../run-state.js";

/** What a family's block diagram is built from. */
export interface LayerContext {
  readonly bundle: BundleIndex;
  readonly plan: MemoryPlan;
  readonly state: RunState;
  readonly layerIndex: number;
  /** Weight of this layer, by its name without `layers.N.`. @throws BUNDLE_UNKNOWN_TENSOR. */
  weight(name: string): WeightRef;
  /** Vector of this layer (norm, bias), or undefined where the model has none. */
  vector(name: string): VectorRef | undefined;
}

/**
 * A model family: the ops of one layer up to the FFN's input. The FFN itself is common to all families, because its weights
 * are on flash. `state.hidden` holds the residual stream before and after; `state.normed` the FFN's input afterwards.
 */
export interface ModelFamily {
  readonly name: string;
  /** Ops of one layer from the residual stream to the FFN's input, in the order they run. @throws BUNDLE_UNKNOWN_TENSOR. */
  attention(context: LayerContext): KernelOp[];
}
