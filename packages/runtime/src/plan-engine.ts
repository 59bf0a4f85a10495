import type { BundleIndex } from "@flashlm/contracts";
import type { EngineOptions, EngineParts, KernelNeeds } from "./engine-options.js";
import { type MemoryPlan, planMemory } from "./memory-plan.js";

/** Prompt tokens in one pass by default: enough to amortise reading and unpacking the weights. */
export const PROMPT_CHUNK_TOKENS = 64;

/** Threads of an engine's kernels and the longest row of weights in a bundle. */
export function kernelNeedsOf(bundle: BundleIndex, options: Pick<EngineOptions, "threadCount">): KernelNeeds {
  const { record, tensors } = bundle.manifest;
  // Tensors of one row are vectors, which no dot runs along.
  const columnCounts = tensors.filter(({ rowCount }) => rowCount > 1).map(({ columnCount }) => columnCount);
  const columnCountMax = columnCounts.reduce((most, count) => Math.max(most, count), record.hiddenSize);
  return { threadCount: options.threadCount, columnCountMax };
}

/** What an engine with these parts and options would need, without making it. @throws BUDGET_TOO_SMALL, ENGINE_OPTION. */
export function planEngine(
  parts: Pick<EngineParts, "bundle" | "predictor" | "kernelOverheadBytes">,
  options: EngineOptions,
): MemoryPlan {
  const needs = kernelNeedsOf(parts.bundle, options);
  const planWith = (kernelOverheadBytes: number): MemoryPlan =>
    planMemory({
      bundle: parts.bundle,
      predictor: parts.predictor,
      memoryBytes: options.memoryBytes,
      contextLength: options.contextLength,
      contextNeeded: options.contextNeeded ?? 0,
      promptChunkTokens: options.promptChunkTokens ?? PROMPT_CHUNK_TOKENS,
      kernelOverheadBytes,
      pinnedShare: options.pinnedShare ?? null,
      demand: options.demand ?? null,
      draftTokens: options.draftTokens ?? 0,
      cacheDtype: options.cacheDtype ?? null,
    });
  let overheadBytes = parts.kernelOverheadBytes(needs);
  let plan = planWith(overheadBytes);
  // What kernels need depends on the size of the whole; more of it makes that no smaller, so this ends.
  for (;;) {
    const wantedBytes = parts.kernelOverheadBytes({ ...needs, memoryBytes: plan.totalBytes });
    if (wantedBytes <= overheadBytes) return plan;
    overheadBytes = wantedBytes;
    plan = planWith(overheadBytes);
  }
}
