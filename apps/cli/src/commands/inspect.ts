import { openBundle, verifyBundle } from "@flashlm/bundler";
import type { BundleManifest } from "@flashlm/contracts";
import { predictorChoices } from "@flashlm/predictor";
import type { Command } from "commander";
import { formatBytes } from "../memory-option.js";
import { resolveBundle } from "../model-path.js";
import { createProgress } from "../progress.js";

/** Registers `flashlm inspect`. */
export function addInspect(program: Command): void {
  program
    .command("inspect")
    .description("show what a bundle holds")
    .argument("[model]", "bundle folder, Hugging Face folder or GGUF file (default: the embedded model)")
    .option("--verify", "check every checksum")
    .option("--json", "the manifest as JSON")
    .action(async (name: string | undefined, flags: { verify?: boolean; json?: boolean }) => {
      const path = await resolveBundle(name, {}, flags.json === true);
      const bundle = await openBundle(path);
      if (flags.verify) {
        const progress = createProgress(!flags.json);
        await verifyBundle(path, (event) => progress.update("verifying", event.doneShare));
        progress.end();
      }
      if (flags.json)
        process.stdout.write(
          `${JSON.stringify({ path, weightBytes: bundle.weightBytes, verified: flags.verify === true, ...bundle.manifest })}\n`,
        );
      else
        process.stdout.write(
          `${describe(path, bundle.weightBytes, bundle.manifest).join("\n")}\n${flags.verify ? "every checksum agrees\n" : ""}`,
        );
    });
}

function describe(path: string, weightBytes: number, manifest: BundleManifest): string[] {
  const { model, record } = manifest;
  const neurons = manifest.layers.reduce((total, layer) => total + layer.neuronCount, 0);
  return [
    `bundle      ${path}`,
    `source      ${manifest.source.name} (${manifest.source.format})`,
    `model       ${model.architecture}: ${model.layerCount} layers, hidden ${model.hiddenSize}, vocabulary ${model.vocabularySize}, context ${model.contextLengthMax}`,
    `attention   ${model.attention.headCount} heads, ${model.attention.keyValueHeadCount} for keys and values, of ${model.attention.headDim}${model.attention.slidingWindow ? `, window ${model.attention.slidingWindow}` : ""}`,
    `ffn         ${model.ffn.kind}, ${model.ffn.neuronCount} neurons, ${model.ffn.activation.name}${model.ffn.upActivation === "relu" ? " on gate and up" : ""}`,
    `weights     ${formatBytes(weightBytes)} as ${manifest.dtype}${manifest.residentDtype ? `, residents ${manifest.residentDtype}` : ""}: ${manifest.dtypeReason}`,
    `records     ${neurons} of ${formatBytes(record.strideBytes)} = ${formatBytes(neurons * record.strideBytes)} (${record.parts.map((part) => `${part.part} ${part.dtype}`).join(", ")})`,
    ...manifest.lossy.map((line) => `lossy       ${line}`),
    `predictors  ${predictorChoices(manifest)
      .map(({ sparsity }) => sparsity)
      .join(", ")}${manifest.heads ? `; heads: ${manifest.heads.text}` : ""}`,
    `calibrated  ${manifest.calibration ? `on ${manifest.calibration.tokenCount} tokens of ${manifest.calibration.text}` : "no"}`,
  ];
}
