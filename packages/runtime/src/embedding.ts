import { alignUp, type BundleIndex, type FlashReader, type KernelSet, ReadBatch } from "@flashlm/contracts";
import { BLOCK_ALIGNMENT_BYTES, type MemoryPlan } from "./memory-plan.js";
import type { Residency } from "./residency.js";
import type { RunState } from "./run-state.js";

/**
 * Looks up token embeddings into `state.hidden`. Tied embeddings are resident, because the head needs them whole; untied ones stay on
 * flash and are read by row.
 */
export function createEmbedding(
  bundle: BundleIndex,
  plan: MemoryPlan,
  reader: FlashReader,
  kernels: KernelSet,
  state: RunState,
  residency: Residency,
): (tokens: ArrayLike<number>, tokenCount: number) => Promise<void> {
  const tensor = bundle.tensor("embedding.weight");
  const ids = state.tokenIds.words;
  const gather = (table: ReturnType<Residency["weight"]>): ReturnType<KernelSet["compile"]> =>
    kernels.compile([
      {
        op: "gatherRows",
        tokenCount: state.tokenCountWord,
        table,
        rowIds: state.tokenIds.base,
        target: state.hidden,
      },
    ]);
  if (plan.embeddingResident) {
    const program = gather(residency.weight("embedding.weight", tensor));
    return async (tokens, tokenCount) => {
      for (let token = 0; token < tokenCount; token++) ids[token] = tokens[token] as number;
      const running = kernels.run(program);
      if (running) await running;
    };
  }
  const rowBytes = tensor.lengthBytes / tensor.rowCount;
  const rows = kernels.memory.allocate(
    alignUp(rowBytes * plan.tokenCapacity, BLOCK_ALIGNMENT_BYTES),
    BLOCK_ALIGNMENT_BYTES,
  );
  const program = gather({
    dtype: tensor.dtype,
    rowCount: plan.tokenCapacity,
    columnCount: tensor.columnCount,
    base: rows,
  });
  const batch = new ReadBatch(plan.tokenCapacity);
  return async (tokens, tokenCount) => {
    batch.clear();
    for (let token = 0; token < tokenCount; token++) {
      ids[token] = token;
      const offsetBytes = tensor.offsetBytes + (tokens[token] as number) * rowBytes;
      batch.push(tensor.fileIndex, offsetBytes, rowBytes, {
        arenaId: rows.arenaId,
        offsetBytes: rows.offsetBytes + token * rowBytes,
      });
    }
    reader.submit(batch).waitAll();
    const running = kernels.run(program);
    if (running) await running;
  };
}
