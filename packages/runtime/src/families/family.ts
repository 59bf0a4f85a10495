import type { KernelOp } from "@flashlm/contracts";
import type { LayerOps } from "./layer-ops.js";

/**
 * A model family: one layer around its FFN. The FFN itself is common to all families, because its weights are on flash: it reads
 * `normed` and adds its result to `ffnOutput`. `hidden` holds the residual stream before and after.
 */
export interface ModelFamily {
  readonly name: string;
  /** Ops from the residual stream to the FFN's input, in the order they run. @throws BUNDLE_UNKNOWN_TENSOR. */
  attention(layer: LayerOps): KernelOp[];
  /** Ops that bring the FFN's result into the residual stream; absent where `ffnOutput` is that stream. */
  afterFfn?(layer: LayerOps): KernelOp[];
}
