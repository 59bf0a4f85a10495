import { type BundleIndex, type KernelSet, type MemoryHandle, rowBytes } from "@flashlm/contracts";
import type { MemoryPlan } from "./memory-plan.js";
import { fillRopeTable } from "./rope-table.js";

/** Every buffer of a run, allocated once. T is `tokenCapacity`; all f32 and row-major. */
export interface RunState {
  readonly tokenCountWord: MemoryHandle;
  readonly positionWord: MemoryHandle;
  readonly headTokenCountWord: MemoryHandle;
  readonly tokenCount: Uint32Array;
  readonly position: Uint32Array;
  readonly headTokenCount: Uint32Array;
  /** u32 `[T]` */
  readonly tokenIds: { readonly base: MemoryHandle; readonly words: Uint32Array };
  /** Residual stream `[T, hiddenSize]`. */
  readonly hidden: MemoryHandle;
  /** Normed input of attention, then of the FFN `[T, hiddenSize]`. */
  readonly normed: MemoryHandle;
  /** `[T, headCount, headDim]` */
  readonly query: MemoryHandle;
  /** `[T, keyValueHeadCount, headDim]` */
  readonly key: MemoryHandle;
  readonly value: MemoryHandle;
  /** `[T, headCount, headDim]` */
  readonly attended: MemoryHandle;
  /** `[T, neuronCount]` by position within a chunk of records. */
  readonly activation: MemoryHandle;
  /** u8 `[T, neuronCount]` by neuron id. */
  readonly mask: { readonly base: MemoryHandle; readonly bytes: Uint8Array };
  /** `[logitRows, hiddenSize]` */
  readonly headInput: MemoryHandle;
  /** `[logitRows, vocabularySize]` */
  readonly logits: { readonly base: MemoryHandle; readonly floats: Float32Array };
  /** `[contextLength, rotaryDim]` */
  readonly ropeTable: MemoryHandle;
  /** Per layer, `[contextLength, keyValueHeadCount * headDim]` each, of the plan's `cacheDtype`. */
  readonly keyCache: readonly MemoryHandle[];
  readonly valueCache: readonly MemoryHandle[];
}

/** Allocates the buffers that a plan counted. @throws KERNEL_MEMORY when the arena was made too small. */
export function createRunState(bundle: BundleIndex, plan: MemoryPlan, kernels: KernelSet): RunState {
  const { model } = bundle.manifest;
  const { memory } = kernels;
  const capacity = plan.tokenCapacity;
  const floats = (count: number): MemoryHandle => memory.allocate(count * 4);
  const word = (): { handle: MemoryHandle; view: Uint32Array } => {
    const handle = memory.allocate(16, 16);
    return { handle, view: memory.words(handle, 1) };
  };
  const tokenCount = word();
  const position = word();
  const headTokenCount = word();
  const headWidth = model.attention.headCount * model.attention.headDim;
  const keyValueWidth = model.attention.keyValueHeadCount * model.attention.headDim;
  const ropeTable = floats(plan.contextLength * model.rope.rotaryDim);
  fillRopeTable(
    model.rope,
    plan.contextLength,
    memory.floats(ropeTable, plan.contextLength * model.rope.rotaryDim),
  );
  const tokenIds = memory.allocate(capacity * 4);
  const mask = memory.allocate(capacity * model.ffn.neuronCount);
  const logits = floats(plan.logitRowCount * model.vocabularySize);
  const caches = (): MemoryHandle[] =>
    bundle.manifest.layers.map(() =>
      memory.allocate(plan.contextLength * rowBytes(plan.cacheDtype, keyValueWidth)),
    );
  return {
    tokenCountWord: tokenCount.handle,
    positionWord: position.handle,
    headTokenCountWord: headTokenCount.handle,
    tokenCount: tokenCount.view,
    position: position.view,
    headTokenCount: headTokenCount.view,
    tokenIds: { base: tokenIds, words: memory.words(tokenIds, capacity) },
    hidden: floats(capacity * model.hiddenSize),
    normed: floats(capacity * model.hiddenSize),
    query: floats(capacity * headWidth),
    key: floats(capacity * keyValueWidth),
    value: floats(capacity * keyValueWidth),
    attended: floats(capacity * headWidth),
    activation: floats(capacity * model.ffn.neuronCount),
    mask: { base: mask, bytes: memory.bytes(mask, capacity * model.ffn.neuronCount) },
    headInput: floats(plan.logitRowCount * model.hiddenSize),
    logits: { base: logits, floats: memory.floats(logits, plan.logitRowCount * model.vocabularySize) },
    ropeTable,
    keyCache: caches(),
    valueCache: caches(),
  };
}
