import { FlashlmError } from "@flashlm/contracts";
import { z } from "zod";
import type { BundleDocument } from "../format/bundle-json.js";
import {
  FILE_BYTES_MAX,
  HIDDEN_SIZE_MAX,
  LAYER_COUNT_MAX,
  NAME_LENGTH_MAX,
  NEURON_COUNT_MAX,
  TENSOR_COUNT_MAX,
  TEXT_LENGTH_MAX,
  VOCABULARY_SIZE_MAX,
} from "../format/limits.js";

/** Most files of a bundle; this program writes seven. */
const FILE_COUNT_MAX = 64;
/** Most kept shares that a calibration has thresholds for. */
const THRESHOLD_COUNT_MAX = 1024;
/** Most thresholds of a trained head. */
const HEAD_POINTS_MAX = 64;

const count = (max: number): z.ZodNumber => z.number().int().min(1).max(max);
const text = z.string().max(TEXT_LENGTH_MAX);
const name = z.string().min(1).max(NAME_LENGTH_MAX);
const offset = z.number().int().min(0).max(FILE_BYTES_MAX);
const checksum = z.number().int().min(0).max(0xffffffff);
const dtype = z.enum(["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"]);
const finite = z.number();
const positive = z.number().positive();
const token = z.number().int().min(0).max(VOCABULARY_SIZE_MAX);

const scaling = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("none") }),
  z.strictObject({ kind: z.literal("linear"), factor: positive }),
  z.strictObject({
    kind: z.literal("llama3"),
    factor: positive,
    lowFrequencyFactor: finite,
    highFrequencyFactor: finite,
    originalContextLength: positive,
  }),
  z.strictObject({
    kind: z.literal("yarn"),
    factor: positive,
    betaFast: finite,
    betaSlow: finite,
    attentionFactor: finite,
    originalContextLength: positive,
    truncate: z.boolean().exactOptional(),
  }),
  z.strictObject({ kind: z.literal("dynamic"), factor: positive, originalContextLength: positive }),
  z.strictObject({
    kind: z.literal("longrope"),
    shortFactors: z.array(positive).max(HIDDEN_SIZE_MAX),
    longFactors: z.array(positive).max(HIDDEN_SIZE_MAX),
    attentionFactor: finite,
    originalContextLength: positive,
  }),
]);

const perLayer = z.array(z.boolean()).max(LAYER_COUNT_MAX);
const normName = z.enum(["attention_norm", "attention_output_norm", "ffn_norm", "ffn_output_norm"]);

const model = z.strictObject({
  family: name,
  architecture: text,
  hiddenSize: count(HIDDEN_SIZE_MAX),
  layerCount: count(LAYER_COUNT_MAX),
  vocabularySize: count(VOCABULARY_SIZE_MAX),
  contextLengthMax: count(2 ** 40),
  attention: z.strictObject({
    headCount: count(HIDDEN_SIZE_MAX),
    keyValueHeadCount: count(HIDDEN_SIZE_MAX),
    headDim: count(HIDDEN_SIZE_MAX),
    slidingWindow: z.number().int().min(1).nullable(),
    windowLayers: perLayer.exactOptional(),
    queryKeyValueBias: z.boolean(),
    outputBias: z.boolean(),
    scale: positive.exactOptional(),
    softCap: positive.exactOptional(),
    queryKeyNorm: z.enum(["head", "vector"]).exactOptional(),
    alibiSlopes: z.array(finite).max(HIDDEN_SIZE_MAX).exactOptional(),
  }),
  rope: z.strictObject({
    theta: positive,
    rotaryDim: z.number().int().min(0).max(HIDDEN_SIZE_MAX),
    scaling,
    contextFactors: z.array(finite).max(HIDDEN_SIZE_MAX).nullable(),
    rotaryLayers: perLayer.exactOptional(),
    window: z.strictObject({ theta: positive, scaling }).exactOptional(),
  }),
  ffn: z.strictObject({
    kind: z.enum(["gated", "plain"]),
    neuronCount: count(NEURON_COUNT_MAX),
    activation: z.strictObject({
      name: z.enum(["silu", "relu", "relu2", "gelu", "gelu_tanh"]),
      threshold: finite,
    }),
    upActivation: z.enum(["none", "relu"]),
    bias: z.boolean(),
  }),
  norm: z.strictObject({
    kind: z.enum(["rms", "layer"]),
    epsilon: z.number().min(0),
    bias: z.boolean().exactOptional(),
    perLayer: z.array(normName).max(4).exactOptional(),
    final: z.boolean().exactOptional(),
  }),
  embedding: z
    .strictObject({
      width: count(HIDDEN_SIZE_MAX).exactOptional(),
      scale: positive.exactOptional(),
      positionCount: count(2 ** 40).exactOptional(),
    })
    .exactOptional(),
  head: z
    .strictObject({ bias: z.boolean().exactOptional(), softCap: positive.exactOptional() })
    .exactOptional(),
  tiedEmbeddings: z.boolean(),
  tokens: z.strictObject({ bos: token.nullable(), eos: z.array(token).max(1024), addBos: z.boolean() }),
});

const record = z.strictObject({
  hiddenSize: count(HIDDEN_SIZE_MAX),
  strideBytes: count(FILE_BYTES_MAX),
  parts: z
    .array(
      z.strictObject({
        part: z.enum(["gate", "up", "down"]),
        dtype,
        offsetBytes: offset,
        lengthBytes: count(FILE_BYTES_MAX),
      }),
    )
    .max(3),
});

const tensor = z.strictObject({
  name,
  dtype,
  rowCount: count(2 ** 40),
  columnCount: count(2 ** 40),
  fileIndex: z.union([z.literal(0), z.literal(2)]),
  offsetBytes: offset,
  lengthBytes: count(FILE_BYTES_MAX),
  crc32c: checksum,
});

const calibration = z.strictObject({
  text,
  tokenCount: z.number().int().min(0),
  activeShareByLayer: z.array(finite).max(LAYER_COUNT_MAX),
  gateThresholds: z.record(z.string().max(NAME_LENGTH_MAX), z.array(finite).max(LAYER_COUNT_MAX)),
});

const share = z.number().min(0).max(1);

const head = z.strictObject({
  layerIndex: z.number().int().min(0).max(LAYER_COUNT_MAX),
  rank: count(HIDDEN_SIZE_MAX),
  activation: z.literal("relu").exactOptional(),
  points: z
    .array(
      z.strictObject({
        missedTarget: z.number().gt(0).lt(1),
        threshold: finite,
        predictedShare: share,
        falseNegativeShare: share,
        falsePositiveShare: share,
        missedShare: share,
      }),
    )
    .max(HEAD_POINTS_MAX),
});

const heads = z.strictObject({
  text,
  tokenCount: z.number().int().min(0),
  heldOutTokenCount: z.number().int().min(0),
  lowrank: z.array(head).max(LAYER_COUNT_MAX),
  lookahead: z.array(head).max(LAYER_COUNT_MAX),
});

const documentSchema = z.strictObject({
  manifestCrc32c: z.string(),
  formatVersion: z.literal(1),
  dtype,
  residentDtype: dtype.exactOptional(),
  dtypeReason: text,
  lossy: z.array(text).max(TEXT_LENGTH_MAX),
  model,
  record,
  layers: z
    .array(z.strictObject({ neuronCount: count(NEURON_COUNT_MAX), offsetBytes: offset }))
    .max(LAYER_COUNT_MAX),
  tensors: z.array(tensor).max(TENSOR_COUNT_MAX),
  source: z.strictObject({ format: z.enum(["gguf", "huggingface"]), name: text, contentHash: text }),
  calibration: calibration.nullable(),
  heads: heads.optional(),
  // A plain file name: nothing of a bundle may point out of its folder.
  files: z
    .array(
      z.strictObject({
        name: name.regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/),
        sizeBytes: offset,
        crc32c: checksum.nullable(),
      }),
    )
    .max(FILE_COUNT_MAX),
});

/** Checks the shape of a decoded `bundle.json`. @throws BUNDLE_LIMIT where a number or list is too large, BUNDLE_FORMAT for all else. */
export function parseBundleDocument(value: unknown, path: string): BundleDocument {
  const result = documentSchema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    const where = issue.path.join(".") || "the top";
    const code = issue.code === "too_big" ? "BUNDLE_LIMIT" : "BUNDLE_FORMAT";
    throw new FlashlmError(code, `${path}: ${issue.message} at ${where}: make the bundle again`, {
      path,
      where,
    });
  }
  const { manifestCrc32c: _checked, ...document } = result.data;
  const thresholdCount = Object.keys(document.calibration?.gateThresholds ?? {}).length;
  if (thresholdCount > THRESHOLD_COUNT_MAX) {
    throw new FlashlmError(
      "BUNDLE_LIMIT",
      `${path} has thresholds for ${thresholdCount} kept shares, expected at most ${THRESHOLD_COUNT_MAX}`,
      { path, thresholdCount },
    );
  }
  return document;
}
