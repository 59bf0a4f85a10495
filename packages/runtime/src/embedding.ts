import type { BundleIndex, FlashReader, KernelOp, KernelSet, WeightRef } from "@flashlm/contracts";
import type { MemoryPlan } from "./memory-plan.js";
import type { Residency } from "./residency.js";
import { type RowTable, tableInMemory, tableOnFlash } from "./row-table.js";
import type { RunState } from "./run-state.js";

/** A token's row, scaled, brought to the width of the residual stream, and its learned position, where a model has these. */
function embeddingOps(
  bundle: BundleIndex,
  state: RunState,
  residency: Residency,
  table: WeightRef,
  positions: WeightRef | undefined,
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
  if (state.positionIds && positions)
    ops.push({
      op: "gatherRows",
      tokenCount,
      table: positions,
      rowIds: state.positionIds.base,
      target: state.hidden,
      accumulate: true,
    });
  return ops;
}

/**
 * Looks up token embeddings, and learned positions where a model has them, into `state.hidden`. Tables that are not in memory are read by
 * row: embeddings that are not the head as well, and all of them where the head is streamed.
 */
export function createEmbedding(
  bundle: BundleIndex,
  plan: MemoryPlan,
  reader: FlashReader,
  kernels: KernelSet,
  state: RunState,
  residency: Residency,
): (tokens: ArrayLike<number>, tokenCount: number) => Promise<void> {
  const open = (name: string, isResident: boolean, rowIds: Uint32Array): RowTable => {
    const tensor = bundle.tensor(name);
    return isResident
      ? tableInMemory(residency.weight(name, tensor), rowIds)
      : tableOnFlash(tensor, rowIds, plan.tokenCapacity, reader, kernels);
  };
  const words = open("embedding.weight", plan.embeddingResident, state.tokenIds.words);
  const positions = state.positionIds
    ? open("position.weight", plan.headResident, state.positionIds.words)
    : null;
  const places = new Uint32Array(positions ? plan.tokenCapacity : 0);
  const program = kernels.compile(embeddingOps(bundle, state, residency, words.table, positions?.table));
  return async (tokens, tokenCount) => {
    if (positions) {
      for (let token = 0; token < tokenCount; token++) places[token] = state.position[0]! + token;
      positions.place(places, tokenCount);
    }
    words.place(tokens, tokenCount);
    const running = kernels.run(program);
    if (running) await running;
  };
}
