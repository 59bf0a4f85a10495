import type {
  BundleManifest,
  KernelOp,
  PredictorContext,
  PredictorPart,
  SparsityPredictor,
} from "@flashlm/contracts";
import { alignUp, FlashlmError, isExactlySparse } from "@flashlm/contracts";
import { checkTarget, layerTensorName, notAvailable, requireTensors } from "./checks.js";
import { neuronCountMax } from "./scored.js";

const GATE = "shadow.gate.weight";
const UP = "shadow.up.weight";

function gateShadowNames(name: string, manifest: BundleManifest): readonly string[] {
  const { ffn } = manifest.model;
  const refuse = (reason: string): never => {
    throw notAvailable(name, reason, "use dense, or lowrank after flashlm train-predictor");
  };
  if (!isExactlySparse(ffn))
    refuse(
      `no activation of this model is ever exactly zero (its FFN uses ${ffn.activation.name}), so the sign of a gate says nothing`,
    );
  if (ffn.kind !== "gated") refuse("its FFN has no gate");
  if (ffn.bias) refuse("its FFN has biases, which the shadow leaves out");
  const names = ffn.upActivation === "relu" ? [GATE, UP] : [GATE];
  requireTensors(name, manifest, names, "convert the checkpoint again with shadow tensors, or use dense");
  return names;
}

/** Standard deviation of a token's scores over the neurons of the layer, in f64 and in one order. */
function standardDeviation(scores: Float32Array): number {
  let sum = 0;
  for (let neuron = 0; neuron < scores.length; neuron++) sum += scores[neuron]!;
  const mean = sum / scores.length;
  let squares = 0;
  for (let neuron = 0; neuron < scores.length; neuron++) {
    const distance = scores[neuron]! - mean;
    squares += distance * distance;
  }
  return Math.sqrt(squares / scores.length);
}

/** Keeps in `mask` what is above `threshold`, or clears more of it where `narrow` says that a row stands there already. NaN is kept: it must reach the output. */
function selectAbove(
  scores: Float32Array,
  threshold: number,
  narrow: boolean,
  mask: Uint8Array,
  maskStart: number,
): number {
  let keptCount = 0;
  for (let neuron = 0; neuron < scores.length; neuron++) {
    const before = narrow ? mask[maskStart + neuron]! : 1;
    const kept = scores[neuron]! <= threshold ? 0 : before;
    mask[maskStart + neuron] = kept;
    keptCount += kept;
  }
  return keptCount;
}

/** Bytes of `[tokenCapacity, neuronCount]` f32 scores of one matrix. */
function matrixScoreBytes(manifest: BundleManifest, tokenCapacity: number): number {
  return alignUp(Math.max(1, tokenCapacity * neuronCountMax(manifest)) * 4, 64);
}

function createGateShadow(name: string, margin: number, context: PredictorContext): SparsityPredictor {
  const { kernels, manifest, tokenCapacity, tokenCount, hidden } = context;
  const names = gateShadowNames(name, manifest);
  const handles = names.map(() => kernels.memory.allocate(matrixScoreBytes(manifest, tokenCapacity)));
  const scores = handles.map((handle) =>
    kernels.memory.floats(handle, tokenCapacity * neuronCountMax(manifest)),
  );
  const programs = manifest.layers.map((_, layerIndex) =>
    kernels.compile(
      names.map(
        (tensorName, index): KernelOp => ({
          op: "matmul",
          tokenCount,
          weight: context.tensor(layerTensorName(layerIndex, tensorName)),
          source: hidden,
          target: handles[index]!,
          accumulate: false,
        }),
      ),
    ),
  );
  // A FATReLU gate fires above its threshold, an up projection behind a ReLU above 0.
  const zeros = [manifest.model.ffn.activation.threshold, 0];
  return {
    contractVersion: 1,
    name,
    scoreProgram: (layerIndex) => programs[layerIndex] ?? null,
    predictInto(layerIndex, count, { mask }) {
      const neuronCount = checkTarget(manifest, tokenCapacity, layerIndex, count, mask);
      let keptCount = 0;
      for (let token = 0; token < count; token++) {
        let kept = 0;
        for (const [index, all] of scores.entries()) {
          const row = all.subarray(token * neuronCount, (token + 1) * neuronCount);
          const threshold = zeros[index]! - margin * standardDeviation(row);
          kept = selectAbove(row, threshold, index > 0, mask, token * neuronCount);
        }
        keptCount += kept;
      }
      return keptCount;
    },
    // With a ReLU on the up projection too, the gate alone says half of it.
    ...(names.length === 1
      ? { scores: (layerIndex: number) => scores[0]!.subarray(0, manifest.layers[layerIndex]!.neuronCount) }
      : {}),
  };
}

/**
 * The gate shadow: predicts the neurons whose gate, computed from its 4-bit copy `shadow.gate`, is above `-margin` standard
 * deviations; with a ReLU on the up projection too, those whose 4-bit up is so as well. The standard deviation is that of the
 * token's own scores over the layer's neurons, so nothing has to be calibrated. For gated FFNs of the ReLU family without
 * biases. Lossy: the copies round.
 * @param margin - in standard deviations, 0 or more; 0.1 predicts about 3 % of the neurons more than are active.
 * @throws PREDICTOR_OPTION for another margin; `tensorNames` and `create` throw PREDICTOR_NOT_AVAILABLE for other models.
 */
export function gateShadowPredictor(margin: number): PredictorPart {
  const name = `gate-shadow:${margin}`;
  if (!(margin >= 0 && margin < Number.POSITIVE_INFINITY)) {
    throw new FlashlmError(
      "PREDICTOR_OPTION",
      `${name}: margin must be finite and at least 0, got ${margin}`,
      {
        margin,
      },
    );
  }
  return {
    name,
    lossless: false,
    dense: false,
    tensorNames: (manifest) => gateShadowNames(name, manifest),
    scratchBytes: (manifest, tokenCapacity) =>
      gateShadowNames(name, manifest).length * matrixScoreBytes(manifest, tokenCapacity),
    create: (context) => createGateShadow(name, margin, context),
  };
}
