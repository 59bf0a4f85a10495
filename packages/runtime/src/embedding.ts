import {
  alignUp,
  type BundleIndex,
  type FlashReader,
  type KernelOp,
  type KernelProgram,
  type KernelSet,
  ReadBatch,
  type WeightRef,
} from "@flashlm/contracts";
import { BLOCK_ALIGNMENT_BYTES, type MemoryPlan } from "./memory-plan.js";
import type { Residency } from "./residency.js";
import type { RunState } from "./run-state.js";

/** A token's row, scaled, brought to the width of the residual stream, and its learned position, where a model has these. */
function embeddingOps(
  bundle: BundleIndex,
  state: RunState,
  residency: Residency,
  table: WeightRef,
): KernelOp[] {
  const tokenCount = state.tokenCountWord;
  const weight = (name: string): WeightRef => residency.weight(name, bundle.tensor(name));
  const { scale } = bundle.manifest.model.embedding ?? {};
  const ops: KernelOp[] = [
    {
      op: "gatherRows",
      tokenCount,
      table,
      rowIds: state.tokenIds.base,
      target: state.embedded,
      ...(scale === undefined ? {} : { scale }),
    },
  ];
  if (bundle.hasTensor("embedding.projection.weight"))
    ops.push({
      op: "matmul",
      tokenCount,
      weight: weight("embedding.projection.weight"),
      source: state.embedded,
      target: state.hidden,
      accumulate: false,
    });
  if (state.positionIds)
    ops.push({
      op: "gatherRows",
      tokenCount,
      table: weight("position.weight"),
      rowIds: state.positionIds.base,
      target: state.hidden,
      accumulate: true,
    });
  return ops;
}

/** Notes where in the sequence the tokens stand. */
function placeTokens(state: RunState, tokenCount: number): void {
  const words = state.positionIds?.words;
  if (!words) return;
  for (let token = 0; token < tokenCount; token++) words[token] = state.position[0]! + token;
}

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
  const gather = (table: WeightRef): KernelProgram =>
    kernels.compile(embeddingOps(bundle, state, residency, table));
  if (plan.embeddingResident) {
    const program = gather(residency.weight("embedding.weight", tensor));
    return async (tokens, tokenCount) => {
      placeTokens(state, tokenCount);
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
    placeTokens(state, tokenCount);
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
