import type { SyntheticPreset } from "./presets.js";
import type { SyntheticDtype } from "./row-filler.js";

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** The README of a synthetic checkpoint: says what it is not before anything else. */
export function modelCard(
  preset: SyntheticPreset,
  seed: number,
  dtype: SyntheticDtype,
  format: "safetensors" | "gguf",
): string {
  const { shape, targets } = preset;
  const shares = targets.activeByDepth.map(percent).join(", ");
  const silu =
    shape.family === "llama" && format === "gguf"
      ? "\nllama.cpp has no Llama with ReLU, so in this file the activation is SiLU and no neuron is exactly zero.\n"
      : "";
  return `---
tags:
- synthetic
- random-weights
---

# ${preset.name} shape, synthetic

**These weights are random numbers. This is not a language model, and it is not derived from one.** It has the shape of the
published model, for measuring how fast a runtime is. Whatever text comes out of it means nothing.

- made by: flashlm synth --preset ${preset.name} --seed ${seed} --dtype ${dtype} --format ${format === "gguf" ? "gguf" : "hf"}
- shape: ${shape.layerCount} layers, hidden ${shape.hiddenSize}, ${shape.neuronCount} FFN neurons, ${shape.headCount} heads, vocabulary ${shape.vocabularySize}
- made for an active share of ${shares} of the neurons, first to last layer (${targets.source})
- \`tokens.json\` holds the token sequence that its statistics are for: what such a model generates by itself runs into loops
${silu}
The first half of \`tokens.json\` is for training predictors, the second for measuring.
`;
}
