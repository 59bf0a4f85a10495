import { FlashlmError, type ModelConfig, type RopeScaling } from "@flashlm/contracts";
import { type ConfigValues, MODEL_LIMITS } from "../config-values.js";

/** What rotary positions assume where a config is silent. */
export interface RopeDefaults {
  readonly theta?: number;
  /** Rotated share of each head. */
  readonly partial?: number;
  readonly originalContextLength?: number;
  /** Kinds of scaling that this architecture calls by another name. */
  readonly aliases?: Readonly<Record<string, string>>;
}

const ALIASES: Readonly<Record<string, string>> = { su: "longrope" };

function isFactor(item: unknown): item is number {
  return typeof item === "number" && Number.isFinite(item) && item > 0;
}

function yarn(scaling: ConfigValues, factor: number, originalContextLength: number): RopeScaling {
  const scale = (magnitude: number): number => (factor <= 1 ? 1 : 0.1 * magnitude * Math.log(factor) + 1);
  const [magnitude, magnitudeAllDim] = [scaling.number("mscale", 0), scaling.number("mscale_all_dim", 0)];
  const inferred =
    magnitude !== 0 && magnitudeAllDim !== 0 ? scale(magnitude) / scale(magnitudeAllDim) : scale(1);
  return {
    kind: "yarn",
    factor,
    betaFast: scaling.positive("beta_fast", 32),
    betaSlow: scaling.positive("beta_slow", 1),
    attentionFactor: scaling.positive("attention_factor", inferred),
    originalContextLength,
    ...(scaling.boolean("truncate", true) ? {} : { truncate: false }),
  };
}

function longrope(
  scaling: ConfigValues,
  factor: number,
  originalContextLength: number,
  rotaryDim: number,
): RopeScaling {
  const factors = (key: string): readonly number[] =>
    scaling.list(key, rotaryDim / 2, isFactor, "numbers above 0, one per rotary pair") ??
    scaling.fail(key, "a list of numbers");
  const inferred = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalContextLength));
  return {
    kind: "longrope",
    shortFactors: factors("short_factor"),
    longFactors: factors("long_factor"),
    attentionFactor: scaling.positive("attention_factor", inferred),
    originalContextLength,
  };
}

/** @throws CHECKPOINT_UNSUPPORTED by name, CHECKPOINT_FORMAT. */
function scalingOf(
  values: ConfigValues,
  scaling: ConfigValues | undefined,
  rotaryDim: number,
  defaults: RopeDefaults,
): RopeScaling {
  if (scaling === undefined) return { kind: "none" };
  const named = scaling.string("rope_type", scaling.string("type", "default"));
  const kind = defaults.aliases?.[named] ?? (Object.hasOwn(ALIASES, named) ? ALIASES[named]! : named);
  const contextLengthMax = values.count(
    "max_position_embeddings",
    MODEL_LIMITS.contextLength,
    defaults.originalContextLength ?? 2048,
  );
  // A length outside the rotary parameters wins, as in Phi-3.
  const originalContextLength = values.count(
    "original_max_position_embeddings",
    MODEL_LIMITS.contextLength,
    scaling.count(
      "original_max_position_embeddings",
      MODEL_LIMITS.contextLength,
      defaults.originalContextLength ?? contextLengthMax,
    ),
  );
  const stretch = (): number => scaling.positive("factor", contextLengthMax / originalContextLength);
  switch (kind) {
    case "default":
      return { kind: "none" };
    case "linear":
      return { kind, factor: scaling.positive("factor") };
    case "dynamic":
      return { kind, factor: scaling.positive("factor"), originalContextLength: contextLengthMax };
    case "llama3":
      return {
        kind,
        factor: scaling.positive("factor"),
        lowFrequencyFactor: scaling.positive("low_freq_factor"),
        highFrequencyFactor: scaling.positive("high_freq_factor"),
        originalContextLength,
      };
    case "yarn":
      return yarn(scaling, stretch(), originalContextLength);
    case "longrope":
      return longrope(scaling, stretch(), originalContextLength, rotaryDim);
    default:
      throw new FlashlmError(
        "CHECKPOINT_UNSUPPORTED",
        `the rotary scaling ${kind} is not known; known are default, linear, dynamic, llama3, yarn, longrope`,
        { ropeScaling: kind },
      );
  }
}

function thetaAndScaling(
  values: ConfigValues,
  scaling: ConfigValues | undefined,
  theta: number,
  rotaryDim: number,
  defaults: RopeDefaults,
): { theta: number; scaling: RopeScaling } {
  return {
    theta: scaling?.positive("rope_theta", theta) ?? theta,
    scaling: scalingOf(values, scaling, rotaryDim, defaults),
  };
}

/** Rotary positions, from `rope_parameters` (new) or `rope_theta`, `rope_scaling`, `partial_rotary_factor`. */
export function ropeOf(values: ConfigValues, headDim: number, defaults: RopeDefaults): ModelConfig["rope"] {
  const scaling = values.within("rope_parameters") ?? values.within("rope_scaling");
  if (scaling?.within("full_attention") !== undefined || scaling?.within("sliding_attention") !== undefined) {
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      "config.json gives rotary parameters by layer type, which this architecture does not have",
      { key: "rope_parameters" },
    );
  }
  const share = values.number("partial_rotary_factor", defaults.partial ?? 1);
  const rotaryDim = Math.trunc(headDim * (scaling?.number("partial_rotary_factor", share) ?? share));
  if (rotaryDim < 2 || rotaryDim > headDim || rotaryDim % 2 !== 0)
    values.fail("partial_rotary_factor", `a share of heads of ${headDim} that is even and at least 2`);
  const theta = values.positive("rope_theta", defaults.theta ?? 10_000);
  return {
    ...thetaAndScaling(values, scaling, theta, rotaryDim, defaults),
    rotaryDim,
    contextFactors: null,
  };
}

/** Rotary positions of Gemma 3: layers with a window have their own, from `rope_parameters` by layer type or `rope_local_base_freq`. */
export function layeredRopeOf(values: ConfigValues, headDim: number): ModelConfig["rope"] {
  const parameters = values.within("rope_parameters");
  const isByLayer =
    parameters?.within("full_attention") !== undefined ||
    parameters?.within("sliding_attention") !== undefined;
  const full = isByLayer
    ? parameters?.within("full_attention")
    : (parameters ?? values.within("rope_scaling"));
  const local = isByLayer ? parameters?.within("sliding_attention") : undefined;
  const localTheta = values.positive("rope_local_base_freq", 10_000);
  return {
    ...thetaAndScaling(values, full, values.positive("rope_theta", 1_000_000), headDim, {}),
    rotaryDim: headDim,
    contextFactors: null,
    window: thetaAndScaling(values, local, localTheta, headDim, {}),
  };
}
