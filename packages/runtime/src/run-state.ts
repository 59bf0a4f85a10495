import {
  alignUp,
  type BundleIndex,
  type KernelSet,
  type MemoryHandle,
  type ModelConfig,
  rowBytes,
} from "@flashlm/contracts";
import { keyValueRowCount } from "./key-value-rows.js";
import type { MemoryPlan } from "./memory-plan.js";
import { RopeTable } from "./rope-table.js";

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
  /** Places of the tokens in the sequence, u32 `[T]`; null where the model has no learned positions. */
  readonly positionIds: { readonly base: MemoryHandle; readonly words: Uint32Array } | null;
  /** Rows of the embedding where they are narrower than the residual stream `[T, width]`; else `hidden`. */
  readonly embedded: MemoryHandle;
  /** Residual stream `[T, hiddenSize]`. */
  readonly hidden: MemoryHandle;
  /** Where the FFN adds its result: `hidden`, or `[T, hiddenSize]` of its own where that is normed first. */
  readonly ffnOutput: MemoryHandle;
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
  /** `[logitRows, width]` of the embedding where that is narrower; else `headInput`. */
  readonly headProjected: MemoryHandle;
  /** `[logitRows, vocabularySize]` */
  readonly logits: { readonly base: MemoryHandle; readonly floats: Float32Array };
  /** `[logitRows, headTileRowCount]` where the head is streamed; else nothing. */
  readonly logitTile: { readonly base: MemoryHandle; readonly floats: Float32Array };
  /** `[contextLength, rotaryDim]` */
  readonly ropeTable: MemoryHandle;
  /** That of layers with a window, which is the same one in most models. */
  readonly windowRopeTable: MemoryHandle;
  /** `[headCount]`, or null where the model has none. */
  readonly alibiSlopes: MemoryHandle | null;
  /** Per layer, `[keyValueRowCount, keyValueHeadCount * headDim]` each, of the plan's `cacheDtype`. */
  readonly keyCache: readonly MemoryHandle[];
  readonly valueCache: readonly MemoryHandle[];
  /** Tells how long a sequence will be at most, before its first token: some rotary scalings depend on it. */
  fitSequence(tokenCount: number): void;
}

/** Whether norms stand between the FFN and the residual stream. */
export function hasOutputNorms(model: ModelConfig): boolean {
  return model.norm.perLayer?.includes("ffn_output_norm") ?? false;
}

/** Rotary tables and slopes: whatever attention needs to know of positions. */
function createPositions(
  model: ModelConfig,
  plan: MemoryPlan,
  kernels: KernelSet,
): Pick<RunState, "ropeTable" | "windowRopeTable" | "alibiSlopes" | "fitSequence"> {
  const { memory } = kernels;
  const { attention, rope } = model;
  const count = plan.contextLength * rope.rotaryDim;
  const table = (): MemoryHandle => memory.allocate(Math.max(count, 1) * 4);
  const ropeTable = table();
  const windowRopeTable = rope.window ? table() : ropeTable;
  const tables = [
    { rope, target: ropeTable },
    ...(rope.window ? [{ rope: { ...rope, ...rope.window }, target: windowRopeTable }] : []),
  ].map(({ rope: each, target }) => new RopeTable(each, memory.floats(target, count)));
  const alibiSlopes = attention.alibiSlopes ? memory.allocate(attention.headCount * 4) : null;
  if (alibiSlopes) memory.floats(alibiSlopes, attention.headCount).set(attention.alibiSlopes ?? []);
  const fitSequence = (tokenCount: number): void => {
    for (const each of tables) each.fit(tokenCount);
  };
  fitSequence(plan.contextLength);
  return { ropeTable, windowRopeTable, alibiSlopes, fitSequence };
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
  const width = model.embedding?.width ?? model.hiddenSize;
  const isNarrow = width !== model.hiddenSize;
  const hidden = floats(capacity * model.hiddenSize);
  const headInput = floats(plan.logitRowCount * model.hiddenSize);
  const positionIds = model.embedding?.positionCount === undefined ? null : memory.allocate(capacity * 4);
  const tokenIds = memory.allocate(capacity * 4);
  const mask = memory.allocate(capacity * model.ffn.neuronCount);
  const logits = floats(plan.logitRowCount * model.vocabularySize);
  const tileCount = plan.logitRowCount * plan.headTileRowCount;
  const logitTile = floats(Math.max(tileCount, 1));
  // A layer's two caches are one allocation, so that both lie in one memory where kernels have several.
  const cacheBytes = bundle.manifest.layers.map((_, layerIndex) =>
    alignUp(keyValueRowCount(model, layerIndex, plan) * rowBytes(plan.cacheDtype, keyValueWidth), 64),
  );
  const keyCache = cacheBytes.map((lengthBytes) => memory.allocate(2 * lengthBytes));
  return {
    tokenCountWord: tokenCount.handle,
    positionWord: position.handle,
    headTokenCountWord: headTokenCount.handle,
    tokenCount: tokenCount.view,
    position: position.view,
    headTokenCount: headTokenCount.view,
    tokenIds: { base: tokenIds, words: memory.words(tokenIds, capacity) },
    positionIds: positionIds && { base: positionIds, words: memory.words(positionIds, capacity) },
    embedded: isNarrow ? floats(capacity * width) : hidden,
    hidden,
    ffnOutput: hasOutputNorms(model) ? floats(capacity * model.hiddenSize) : hidden,
    normed: floats(capacity * model.hiddenSize),
    query: floats(capacity * headWidth),
    key: floats(capacity * keyValueWidth),
    value: floats(capacity * keyValueWidth),
    attended: floats(capacity * headWidth),
    activation: floats(capacity * model.ffn.neuronCount),
    mask: { base: mask, bytes: memory.bytes(mask, capacity * model.ffn.neuronCount) },
    headInput,
    headProjected: isNarrow ? floats(plan.logitRowCount * width) : headInput,
    logits: { base: logits, floats: memory.floats(logits, plan.logitRowCount * model.vocabularySize) },
    logitTile: { base: logitTile, floats: memory.floats(logitTile, tileCount) },
    ...createPositions(model, plan, kernels),
    keyCache,
    valueCache: keyCache.map((keys, layerIndex) => ({
      ...keys,
      offsetBytes: keys.offsetBytes + cacheBytes[layerIndex]!,
    })),
  };
}
