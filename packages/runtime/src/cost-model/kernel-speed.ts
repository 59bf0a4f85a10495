import type { EngineSpeed } from "./engine-speed.js";

/**
 * What compute costs with one kernel target at one model's shapes, on weights that come from memory: measured by
 * `probeKernels`, once per target, thread count and shape.
 */
export interface KernelSpeed {
  readonly target: string;
  readonly threadCount: number;
  /** One token through one layer's attention program (norms and projections included), with nothing to attend to. */
  readonly layerMs: number;
  /** Each position that is attended to, per layer. */
  readonly positionMs: number;
  /** Activations of one neuron record. */
  readonly activationMs: number;
  /** Down projection of one active neuron. */
  readonly downMs: number;
  /** One layer's FFN programs when there is next to nothing to do. */
  readonly flightMs: number;
  /** The final norm and the head. */
  readonly headMs: number;
  /** Predictor weights through the kernels. */
  readonly scoreBytesPerSecond: number;
  /** What the engine adds, where that was rehearsed; absent takes usual figures. */
  readonly engine?: EngineSpeed;
}
