import { FlashlmError } from "@flashlm/contracts";

/** Families that have a synthetic form. */
export type SyntheticFamily = "opt" | "falcon" | "persimmon" | "phi" | "llama";

/** The shape of a published model. */
export interface SyntheticShape {
  readonly family: SyntheticFamily;
  readonly hiddenSize: number;
  readonly layerCount: number;
  readonly neuronCount: number;
  readonly headCount: number;
  readonly vocabularySize: number;
  readonly contextLengthMax: number;
}

/** What neurons of a synthetic model do on its text. Shares are of a layer's neurons. */
export interface ActivityTargets {
  /** Active share at equal steps of depth, first to last layer; between them it is interpolated. */
  readonly activeByDepth: readonly number[];
  /** Neuron of rank r is active with a probability proportional to r to the power of -popularityExponent. */
  readonly popularityExponent: number;
  /** Tokens of the window whose union is compared, the current one included. */
  readonly windowTokens: number;
  /** Figures of "LLM in a flash", or null where it gives none. Predicted neurons, by a predictor that misses 5 %. */
  readonly predictedShare: number | null;
  readonly unionShare: number | null;
  readonly freshShare: number | null;
  /** Where the figures are from. */
  readonly source: string;
}

/** A model that can be made up. */
export interface SyntheticPreset {
  readonly name: string;
  readonly shape: SyntheticShape;
  readonly targets: ActivityTargets;
  /** Digits of the tokens' code: shares of the embedding's variance and how often each changes. */
  readonly digits: { readonly shares: readonly number[]; readonly changeRates: readonly number[] };
  /** Variance that all layers' attention, and as much that all their FFNs, add to the residual stream, relative to the embedding's. */
  readonly layersVariance: number;
}

/** How a preset's text and embeddings are made up; fitted so that windows behave as in the paper. */
type Makeup = Pick<SyntheticPreset, "digits" | "layersVariance">;

/** Slow, middling and fast parts of the meaning of a token. */
const USUAL: Makeup = {
  digits: { shares: [0.3, 0.26, 0.3], changeRates: [0.035, 0.09, 0.7] },
  layersVariance: 0.08,
};
/**
 * With as many inputs a head of rank 128 holds a smaller part of everything, so there is less noise: then 10 % are predicted. The fast part changes at
 * every token, as the words of a text do: where it sometimes stays, such tokens read next to nothing and the others as much more, which hides no reads behind computing.
 */
const LARGE: Makeup = {
  digits: { shares: [0.287, 0.288, 0.3], changeRates: [0.035, 0.09, 1] },
  layersVariance: 0.045,
};
/** Few hidden units: a head of rank 128 learns much of what would be noise in a large model, so there is more of it. */
const TINY: Makeup = {
  digits: { shares: [0.24, 0.2, 0.23], changeRates: [0.035, 0.09, 0.7] },
  layersVariance: USUAL.layersVariance,
};
const OPT_TARGETS: ActivityTargets = {
  activeByDepth: [0.0156, 0.0255, 0.0266, 0.0445, 0.0536],
  popularityExponent: 0.6,
  windowTokens: 5,
  predictedShare: 0.1,
  unionShare: 0.24,
  freshShare: 0.024,
  source: "the paper's figures for OPT-6.7B (table 6, appendix C.1)",
};
const FALCON_TARGETS: ActivityTargets = {
  activeByDepth: [0.05],
  popularityExponent: 0.6,
  windowTokens: 4,
  predictedShare: null,
  unionShare: 0.33,
  freshShare: 0.031,
  source: "the paper's figures for the relufied Falcon-7B",
};
const PERSIMMON_TARGETS: ActivityTargets = {
  activeByDepth: [0.025, 0.04, 0.045, 0.065, 0.08],
  popularityExponent: 0.6,
  windowTokens: 4,
  predictedShare: 0.15,
  unionShare: null,
  freshShare: null,
  source:
    "an assumption: the paper says that later layers are denser and that three times the active share is predicted",
};
const PHI_TARGETS: ActivityTargets = {
  activeByDepth: [0.06, 0.09, 0.12, 0.09, 0.06],
  popularityExponent: 0.6,
  windowTokens: 4,
  predictedShare: 0.17,
  unionShare: null,
  freshShare: null,
  source:
    "an assumption: the paper says that middle layers are denser and that twice the active share is predicted",
};
const LLAMA_TARGETS: ActivityTargets = {
  activeByDepth: [0.075, 0.105, 0.12, 0.105, 0.075],
  popularityExponent: 0.6,
  windowTokens: 2,
  predictedShare: null,
  unionShare: null,
  freshShare: null,
  source: "the paper's 90 % sparsity of Llama 2 with ReLU; it says that middle layers are denser",
};

function tinyPreset(name: string, family: SyntheticFamily, targets: ActivityTargets): SyntheticPreset {
  const shape = {
    family,
    hiddenSize: 256,
    layerCount: 4,
    neuronCount: 2048,
    headCount: 4,
    vocabularySize: 4096,
    contextLengthMax: 1024,
  };
  return { name, shape, targets, ...TINY };
}

const PRESETS: readonly SyntheticPreset[] = [
  tinyPreset("tiny", "opt", OPT_TARGETS),
  tinyPreset("tiny-falcon", "falcon", FALCON_TARGETS),
  tinyPreset("tiny-persimmon", "persimmon", PERSIMMON_TARGETS),
  tinyPreset("tiny-phi", "phi", PHI_TARGETS),
  tinyPreset("tiny-llama", "llama", LLAMA_TARGETS),
  {
    name: "opt-125m",
    shape: {
      family: "opt",
      hiddenSize: 768,
      layerCount: 12,
      neuronCount: 3072,
      headCount: 12,
      vocabularySize: 50_272,
      contextLengthMax: 2048,
    },
    targets: OPT_TARGETS,
    ...USUAL,
  },
  {
    name: "opt-1.3b",
    shape: {
      family: "opt",
      hiddenSize: 2048,
      layerCount: 24,
      neuronCount: 8192,
      headCount: 32,
      vocabularySize: 50_272,
      contextLengthMax: 2048,
    },
    targets: OPT_TARGETS,
    ...USUAL,
  },
  {
    name: "opt-6.7b",
    shape: {
      family: "opt",
      hiddenSize: 4096,
      layerCount: 32,
      neuronCount: 16_384,
      headCount: 32,
      vocabularySize: 50_272,
      contextLengthMax: 2048,
    },
    targets: OPT_TARGETS,
    ...LARGE,
  },
  {
    name: "falcon-7b",
    shape: {
      family: "falcon",
      hiddenSize: 4544,
      layerCount: 32,
      neuronCount: 18_176,
      headCount: 71,
      vocabularySize: 65_024,
      contextLengthMax: 2048,
    },
    targets: FALCON_TARGETS,
    ...USUAL,
  },
  {
    name: "persimmon-8b",
    shape: {
      family: "persimmon",
      hiddenSize: 4096,
      layerCount: 36,
      neuronCount: 16_384,
      headCount: 64,
      vocabularySize: 262_144,
      contextLengthMax: 16_384,
    },
    targets: PERSIMMON_TARGETS,
    ...USUAL,
  },
  {
    name: "phi-2",
    shape: {
      family: "phi",
      hiddenSize: 2560,
      layerCount: 32,
      neuronCount: 10_240,
      headCount: 32,
      vocabularySize: 51_200,
      contextLengthMax: 2048,
    },
    targets: PHI_TARGETS,
    ...USUAL,
  },
  {
    name: "llama-2-7b",
    shape: {
      family: "llama",
      hiddenSize: 4096,
      layerCount: 32,
      neuronCount: 11_008,
      headCount: 32,
      vocabularySize: 32_000,
      contextLengthMax: 4096,
    },
    targets: LLAMA_TARGETS,
    ...USUAL,
  },
];

/** Names of the synthetic models. */
export const SYNTHETIC_PRESETS: readonly string[] = PRESETS.map((preset) => preset.name);

/** The preset of that name. @throws SYNTHETIC_OPTION. */
export function findPreset(name: string): SyntheticPreset {
  const preset = PRESETS.find((candidate) => candidate.name === name);
  if (preset !== undefined) return preset;
  throw new FlashlmError(
    "SYNTHETIC_OPTION",
    `Expected a preset out of ${SYNTHETIC_PRESETS.join(", ")} but received "${name}".`,
    { preset: name },
  );
}

/** The active share that a layer is made for. */
export function activeTarget(targets: ActivityTargets, layerIndex: number, layerCount: number): number {
  const points = targets.activeByDepth;
  if (points.length === 1) return points[0]!;
  const depth = layerCount === 1 ? 0 : (layerIndex / (layerCount - 1)) * (points.length - 1);
  const before = Math.min(Math.floor(depth), points.length - 2);
  return points[before]! + (depth - before) * (points[before + 1]! - points[before]!);
}
