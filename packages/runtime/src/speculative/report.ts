import type { GeneratorReport, SpeculationReport } from "@flashlm/contracts";

/** The report of two models together: the target's counts, the times, bytes and memory of both. */
export function combineReports(
  target: GeneratorReport,
  draft: GeneratorReport,
  counts: Pick<SpeculationReport, "passCount" | "proposedTokens" | "acceptedTokens">,
): GeneratorReport {
  // The target's decodeMs is that of whole passes, drafting included.
  const ioWaitMs = target.ioWaitMs + draft.ioWaitMs;
  const cacheMs = target.cacheMs + draft.cacheMs;
  return {
    ...target,
    promptMs: target.promptMs + draft.promptMs,
    ioWaitMs,
    cacheMs,
    computeMs: target.decodeMs - ioWaitMs - cacheMs,
    readBytes: target.readBytes + draft.readBytes,
    loadReadBytes: target.loadReadBytes + draft.loadReadBytes,
    decodeReadBytes: target.decodeReadBytes + draft.decodeReadBytes,
    memory: [
      ...target.memory,
      ...draft.memory.map(({ owner, plannedBytes }) => ({ owner: `draft: ${owner}`, plannedBytes })),
    ],
    speculation: { ...counts, draftMs: draft.decodeMs, draftReadBytes: draft.decodeReadBytes },
  };
}
