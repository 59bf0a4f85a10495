import type { BundleIndex } from "@flashlm/contracts";
import { PROMPT_CHUNK_TOKENS } from "@flashlm/runtime";
import { besideEngineBytes, createEngineWithin, engineMemoryBytes } from "../engine-memory.js";
import { composeParts } from "../engine-parts.js";
import type { EngineFlags } from "../options.js";
import { promptOnly } from "../prompt-only.js";
import { ActivationRecorder, activationRecorderBytes } from "./activation-recorder.js";
import { downNorms } from "./record-vectors.js";
import type { TrainingFolder } from "./training-folder.js";

/** What {@link recordActivations} runs over. */
export interface RecordingOptions {
  readonly bundle: BundleIndex;
  readonly folder: TrainingFolder;
  readonly windows: readonly (readonly number[])[];
  readonly flags: EngineFlags;
  /** The process that runs it, before anything else was done in it. */
  readonly overheadBytes: number;
  readonly threadCount: number;
  readonly onProgress: (doneShare: number) => void;
}

/** Runs the model densely over the windows that are not recorded yet. Each whole window is journaled. */
export async function recordActivations(options: RecordingOptions): Promise<void> {
  const { bundle, folder, windows, flags } = options;
  const totalTokens = windows.reduce((sum, window) => sum + window.length, 0);
  if (folder.recordedTokens >= totalTokens) return;
  const files = folder.openRecords();
  try {
    const norms = bundle.manifest.layers.map((_, layerIndex) => downNorms(bundle, layerIndex));
    const recorder = new ActivationRecorder(bundle, files, norms, folder.recordedTokens);
    const beside = {
      owner: "activation recorder",
      plannedBytes: activationRecorderBytes(bundle, PROMPT_CHUNK_TOKENS),
    };
    const model = { bundle, overheadBytes: options.overheadBytes, beside };
    const engine = await createEngineWithin(
      model,
      flags,
      { ...composeParts(bundle, { ...flags, sparsity: "dense" }), predictor: recorder.predictorPart() },
      {
        memoryBytes: engineMemoryBytes(bundle, flags, besideEngineBytes(model)),
        contextLength: Math.max(...windows.map((window) => window.length)),
        threadCount: options.threadCount,
        onActivations: recorder.observe,
      },
    );
    try {
      let endToken = 0;
      for (const window of windows) {
        endToken += window.length;
        if (endToken <= folder.recordedTokens) continue;
        await promptOnly(engine, window);
        recorder.flush();
        folder.setRecordedTokens(endToken);
        options.onProgress(endToken / totalTokens);
      }
    } finally {
      await engine.close();
    }
  } finally {
    folder.closeRecords(files);
  }
}
