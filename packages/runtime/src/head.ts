import {
  ADDRESS_UNIT_BYTES,
  type BundleIndex,
  type KernelOp,
  type KernelProgram,
  type KernelSet,
  type MemoryHandle,
} from "@flashlm/contracts";
import { joinChecksums, TensorVerifier } from "./checksum.js";
import { type HeadTile, headTensor, headTiles } from "./head-tiles.js";
import type { MemoryPlan } from "./memory-plan.js";
import type { Residency } from "./residency.js";
import type { RunState } from "./run-state.js";

/** Ops from the residual stream in `state.headInput` to what the head's rows are multiplied with, in `state.headProjected`. */
function inputOps(bundle: BundleIndex, state: RunState, residency: Residency): KernelOp[] {
  const { model } = bundle.manifest;
  const tokenCount = state.headTokenCountWord;
  const weight = (name: string) => residency.weight(name, bundle.tensor(name));
  const ops: KernelOp[] = [];
  if (model.norm.final !== false)
    ops.push({
      op: "norm",
      kind: model.norm.kind,
      tokenCount,
      rowsPerToken: 1,
      dim: model.hiddenSize,
      epsilon: model.norm.epsilon,
      source: state.headInput,
      target: state.headInput,
      weight: weight("final_norm.weight").base,
      ...(bundle.hasTensor("final_norm.bias") ? { bias: weight("final_norm.bias").base } : {}),
    });
  if (bundle.hasTensor("head.projection.weight"))
    ops.push({
      op: "matmul",
      tokenCount,
      weight: weight("head.projection.weight"),
      source: state.headInput,
      target: state.headProjected,
      accumulate: false,
    });
  return ops;
}

/** Ops for the logits of some rows of the head, `[logitRows, rowCount]` in `target`. */
function logitOps(
  bundle: BundleIndex,
  state: RunState,
  residency: Residency,
  { name, firstRow, tensor }: Omit<HeadTile, "extent">,
  target: MemoryHandle,
): KernelOp[] {
  const tokenCount = state.headTokenCountWord;
  const weight = residency.weight(name, tensor);
  const bias = bundle.hasTensor("head.bias")
    ? residency.weight("head.bias", bundle.tensor("head.bias")).base
    : undefined;
  const ops: KernelOp[] = [
    {
      op: "matmul",
      tokenCount,
      weight,
      source: state.headProjected,
      target,
      accumulate: false,
      // Vectors are f32.
      ...(bias ? { bias: { ...bias, offsetBytes: bias.offsetBytes + 4 * firstRow } } : {}),
    },
  ];
  const cap = bundle.manifest.model.head?.softCap;
  if (cap !== undefined) ops.push({ op: "softCap", tokenCount, dim: tensor.rowCount, cap, vector: target });
  return ops;
}

/** Makes the function that turns rows of the residual stream, at most `logitRowCount`, into `state.logits`. */
export function createHead(
  bundle: BundleIndex,
  plan: MemoryPlan,
  state: RunState,
  residency: Residency,
  kernels: KernelSet,
): (firstRow: number, rowCount: number) => Promise<void> {
  const rowBytes = bundle.manifest.model.hiddenSize * 4;
  const take = (firstRow: number, rowCount: number): void => {
    const from = { ...state.hidden, offsetBytes: state.hidden.offsetBytes + firstRow * rowBytes };
    kernels.memory
      .bytes(state.headInput, rowCount * rowBytes)
      .set(kernels.memory.bytes(from, rowCount * rowBytes));
    state.headTokenCount[0] = rowCount;
  };
  if (!plan.headResident) return streamedHead(bundle, plan, state, residency, kernels, take);
  const tensor = headTensor(bundle);
  const whole = { name: tensor.name, firstRow: 0, tensor };
  const program = kernels.compile([
    ...inputOps(bundle, state, residency),
    ...logitOps(bundle, state, residency, whole, state.logits.base),
  ]);
  return async (firstRow, rowCount) => {
    take(firstRow, rowCount);
    const running = kernels.run(program);
    if (running) await running;
  };
}

/** The same sums, tile by tile as the head is read. */
function streamedHead(
  bundle: BundleIndex,
  { headTileRowCount }: MemoryPlan,
  state: RunState,
  residency: Residency,
  kernels: KernelSet,
  take: (firstRow: number, rowCount: number) => void,
): (firstRow: number, rowCount: number) => Promise<void> {
  const { vocabularySize } = bundle.manifest.model;
  const input = kernels.compile(inputOps(bundle, state, residency));
  const { base, floats } = state.logitTile;
  const tiles = headTiles(bundle, headTileRowCount).map((tile) => ({
    ...tile,
    program: kernels.compile(logitOps(bundle, state, residency, tile, base)),
  }));
  const check = createTileCheck(bundle, residency, kernels);
  const run = async (program: KernelProgram): Promise<void> => {
    const running = kernels.run(program);
    if (running) await running;
  };
  return async (firstRow, rowCount) => {
    take(firstRow, rowCount);
    residency.startAt(tiles[0]!.name);
    await run(input);
    for (const tile of tiles) {
      await residency.need(tile.name);
      await check(tile, tile === tiles.at(-1));
      await run(tile.program);
      residency.done(tile.name);
      const width = tile.tensor.rowCount;
      for (let row = 0; row < rowCount; row++)
        state.logits.floats.set(
          floats.subarray(row * width, (row + 1) * width),
          row * vocabularySize + tile.firstRow,
        );
    }
  };
}

/** Checks the head on its first way through memory: its checksum is that of all tiles, joined. @throws BUNDLE_CHECKSUM. */
function createTileCheck(
  bundle: BundleIndex,
  residency: Residency,
  kernels: KernelSet,
): (tile: HeadTile, isLast: boolean) => Promise<void> {
  const verifier = new TensorVerifier(kernels);
  let joined = 0;
  let isChecked = false;
  return async ({ name, firstRow, tensor }, isLast) => {
    if (isChecked) return;
    const offsetBytes = residency.address(name, tensor) * ADDRESS_UNIT_BYTES;
    const own = await verifier.checksum(offsetBytes, tensor.lengthBytes);
    joined = firstRow === 0 ? own : joinChecksums(joined, own, tensor.lengthBytes);
    if (!isLast) return;
    verifier.compare(headTensor(bundle), joined);
    isChecked = true;
  };
}
