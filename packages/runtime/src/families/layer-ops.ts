import {
  type BundleIndex,
  type KernelOp,
  layerWindow,
  type MemoryHandle,
  type VectorRef,
  type WeightRef,
} from "@flashlm/contracts";
import { keyValueRowCount } from "../key-value-rows.js";
import type { MemoryPlan } from "../memory-plan.js";
import type { RunState } from "../run-state.js";

/** What a layer's ops are built from. */
export interface LayerContext {
  readonly bundle: BundleIndex;
  readonly plan: MemoryPlan;
  readonly state: RunState;
  readonly layerIndex: number;
  /** Weight of this layer, by its name without `layers.N.`. @throws BUNDLE_UNKNOWN_TENSOR. */
  weight(name: string): WeightRef;
  /** Vector of this layer (norm, bias), or undefined where the model has none. */
  vector(name: string): VectorRef | undefined;
}

/** The boxes that the block diagrams of families are drawn with. */
export class LayerOps {
  readonly #context: LayerContext;
  readonly #tokenCount: MemoryHandle;
  /** Residual stream `[T, hiddenSize]`. */
  readonly hidden: MemoryHandle;
  /** Input of attention, then of the FFN `[T, hiddenSize]`. */
  readonly normed: MemoryHandle;
  /** What attention gives `[T, headCount, headDim]`. */
  readonly attended: MemoryHandle;
  /** Where the FFN adds its result: `hidden`, or a branch of its own `[T, hiddenSize]` where that is normed first. */
  readonly ffnOutput: MemoryHandle;

  constructor(context: LayerContext) {
    const { state } = context;
    this.#context = context;
    this.#tokenCount = state.tokenCountWord;
    this.hidden = state.hidden;
    this.normed = state.normed;
    this.attended = state.attended;
    this.ffnOutput = state.ffnOutput;
  }

  /** Whether the layer has this norm. */
  hasNorm(name: string): boolean {
    return this.#context.vector(`${name}.weight`) !== undefined;
  }

  /** The model's kind of norm over the whole width. */
  norm(name: string, source: MemoryHandle, target: MemoryHandle): KernelOp {
    return this.#norm(name, source, target, 1, this.#context.bundle.manifest.model.hiddenSize);
  }

  /** A linear projection with its bias, if it has one; `add` joins the result to what target holds. */
  project(name: string, source: MemoryHandle, target: MemoryHandle, mode: "set" | "add" = "set"): KernelOp {
    const bias = this.#context.vector(`${name}.bias`);
    return {
      op: "matmul",
      tokenCount: this.#tokenCount,
      weight: this.#context.weight(`${name}.weight`),
      source,
      target,
      accumulate: mode === "add",
      ...(bias ? { bias } : {}),
    };
  }

  /** target += source. */
  add(source: MemoryHandle, target: MemoryHandle): KernelOp {
    return { op: "add", tokenCount: this.#tokenCount, dim: this.#width, scale: 1, source, target };
  }

  /** target = source. */
  copy(source: MemoryHandle, target: MemoryHandle): KernelOp {
    return { op: "copy", tokenCount: this.#tokenCount, dim: this.#width, scale: 1, source, target };
  }

  /** target = 0. */
  clear(target: MemoryHandle): KernelOp {
    return { op: "copy", tokenCount: this.#tokenCount, dim: this.#width, scale: 0, source: target, target };
  }

  /** Queries, keys and values of `source`, normed and rotated where the model does that; stores the latter; attends, into `attended`. */
  attend(source: MemoryHandle): KernelOp[] {
    const { bundle, state } = this.#context;
    const { attention } = bundle.manifest.model;
    return [
      this.project("attention.query", source, state.query),
      this.project("attention.key", source, state.key),
      this.project("attention.value", source, state.value),
      ...this.#normHeads("attention.query_norm", state.query, attention.headCount),
      ...this.#normHeads("attention.key_norm", state.key, attention.keyValueHeadCount),
      ...this.#rotate(state.query, attention.headCount),
      ...this.#rotate(state.key, attention.keyValueHeadCount),
      ...this.#attendStored(),
    ];
  }

  get #width(): number {
    return this.#context.bundle.manifest.model.hiddenSize;
  }

  #norm(
    name: string,
    source: MemoryHandle,
    target: MemoryHandle,
    rowsPerToken: number,
    dim: number,
  ): KernelOp {
    const { kind, epsilon } = this.#context.bundle.manifest.model.norm;
    const bias = this.#context.vector(`${name}.bias`);
    return {
      op: "norm",
      kind,
      tokenCount: this.#tokenCount,
      rowsPerToken,
      dim,
      epsilon,
      source,
      target,
      weight: this.#context.weight(`${name}.weight`).base,
      ...(bias ? { bias } : {}),
    };
  }

  #normHeads(name: string, vector: MemoryHandle, headCount: number): KernelOp[] {
    const { headDim, queryKeyNorm } = this.#context.bundle.manifest.model.attention;
    if (queryKeyNorm === undefined) return [];
    return queryKeyNorm === "head"
      ? [this.#norm(name, vector, vector, headCount, headDim)]
      : [this.#norm(name, vector, vector, 1, headCount * headDim)];
  }

  #rotate(vector: MemoryHandle, headCount: number): KernelOp[] {
    const { bundle, layerIndex, state } = this.#context;
    const { attention, rope } = bundle.manifest.model;
    if (rope.rotaryDim === 0 || rope.rotaryLayers?.[layerIndex] === false) return [];
    return [
      {
        op: "rope",
        tokenCount: this.#tokenCount,
        position: state.positionWord,
        vector,
        headCount,
        headDim: attention.headDim,
        rotaryDim: rope.rotaryDim,
        table: attention.windowLayers?.[layerIndex] === false ? state.ropeTable : state.windowRopeTable,
      },
    ];
  }

  #attendStored(): KernelOp[] {
    const { bundle, plan, state, layerIndex } = this.#context;
    const { model } = bundle.manifest;
    const { headCount, headDim, keyValueHeadCount, scale, softCap } = model.attention;
    const cache = {
      tokenCount: this.#tokenCount,
      position: state.positionWord,
      cacheDtype: plan.cacheDtype,
      keyCache: state.keyCache[layerIndex]!,
      valueCache: state.valueCache[layerIndex]!,
      capacityTokens: keyValueRowCount(model, layerIndex, plan),
    };
    return [
      {
        op: "storeKeyValue",
        ...cache,
        keys: state.key,
        values: state.value,
        keyValueDim: keyValueHeadCount * headDim,
      },
      {
        op: "attention",
        ...cache,
        query: state.query,
        target: state.attended,
        headCount,
        keyValueHeadCount,
        headDim,
        scale: scale ?? 1 / Math.sqrt(headDim),
        window: layerWindow(model, layerIndex),
        ...(softCap === undefined ? {} : { softCap }),
        ...(state.alibiSlopes === null ? {} : { alibiSlopes: state.alibiSlopes }),
      },
    ];
  }
}
