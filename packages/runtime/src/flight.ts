import {
  type BundleIndex,
  type KernelOp,
  type KernelProgram,
  type KernelSet,
  type MemoryHandle,
  type PendingReads,
  ReadPlan,
  type VectorRef,
} from "@flashlm/contracts";
import { BLOCK_ALIGNMENT_BYTES } from "./blocks.js";
import type { MemoryPlan } from "./memory-plan.js";
import type { RunState } from "./run-state.js";

/**
 * One chunk of a layer's records on its way: the lists the kernels read (addresses, ids, order: hits first, of those the ones still on their way
 * last), staging for what has no slot, and the programs over them. Allocated once, used again and again.
 */
export interface Flight {
  readonly staging: MemoryHandle;
  readonly addresses: Uint32Array;
  readonly ids: Uint32Array;
  readonly order: Uint32Array;
  readonly checksums: Uint32Array;
  /** Words: orderBegin, orderEnd, positionCount, unused, then the addresses of the layer's gate, up and down biases. */
  readonly words: Uint32Array;
  readonly activations: KernelProgram;
  readonly maskedActivations: KernelProgram;
  readonly down: KernelProgram;
  /** For a layer's last chunk: adds the bias of the down projection where the model has one. */
  readonly lastDown: KernelProgram;
  /** Activations and down projection at once, where nothing is on its way; the second one for a layer's last chunk. */
  readonly feedForward: KernelProgram;
  readonly lastFeedForward: KernelProgram;
  readonly verify: KernelProgram;
  readonly plan: ReadPlan;
  /** Per wanted extent: its first position in the chunk, how many records it has (one unless without a slot), and the slot's offset or TARGET_ANYWHERE. */
  readonly wantedPosition: Uint32Array;
  readonly wantedRecords: Uint32Array;
  readonly wantedTarget: Float64Array;
  layerIndex: number;
  count: number;
  hitCount: number;
  /** Hits whose records are there; the others are read early. */
  readyCount: number;
  last: boolean;
  pending: PendingReads | null;
  /** Reads, from the first on, whose records have been put where they belong. */
  placedReads: number;
  /** Where in the order the records begin that are to be checked when they have landed. */
  checkBegin: number;
}

/** Index in `Flight.words` of the first bias address. */
export const BIAS_WORD_INDEX = 4;

type Request =
  | "plan"
  | "wantedPosition"
  | "wantedRecords"
  | "wantedTarget"
  | "layerIndex"
  | "count"
  | "hitCount"
  | "readyCount"
  | "last"
  | "pending"
  | "placedReads"
  | "checkBegin";

/** The part of a flight that says what is asked for, before anything is. */
function emptyRequest(neuronCount: number): Pick<Flight, Request> {
  return {
    plan: new ReadPlan(neuronCount),
    wantedPosition: new Uint32Array(neuronCount),
    wantedRecords: new Uint32Array(neuronCount),
    wantedTarget: new Float64Array(neuronCount),
    layerIndex: 0,
    count: 0,
    hitCount: 0,
    readyCount: 0,
    last: false,
    pending: null,
    placedReads: 0,
    checkBegin: 0,
  };
}

/** Allocates a flight and compiles its programs, which serve every layer: biases are found through the flight's words. */
export function createFlight(
  bundle: BundleIndex,
  plan: MemoryPlan,
  kernels: KernelSet,
  state: RunState,
): Flight {
  const { model, record } = bundle.manifest;
  const neuronCount = model.ffn.neuronCount;
  const { memory } = kernels;
  const list = (): MemoryHandle => memory.allocate(neuronCount * 4);
  const addresses = list();
  const ids = list();
  const order = list();
  const checksums = list();
  const words = memory.allocate(32, 16);
  const word = (index: number): MemoryHandle => ({
    arenaId: words.arenaId,
    offsetBytes: words.offsetBytes + 4 * index,
  });
  const range = { order, orderBegin: word(0), orderEnd: word(1) };
  const tokenCount = state.tokenCountWord;
  const activation = { activation: state.activation, activationStride: neuronCount };
  const bias = (index: number): VectorRef => ({ addressWord: word(BIAS_WORD_INDEX + index), offsetBytes: 0 });
  const gateBias = model.ffn.bias && model.ffn.kind === "gated" ? { gateBias: bias(0) } : {};
  const upBias = model.ffn.bias ? { upBias: bias(1) } : {};
  const activations: KernelOp = {
    op: "ffnActivations",
    tokenCount,
    layout: record,
    activationFn: model.ffn.activation,
    upActivation: model.ffn.upActivation,
    addresses,
    ids,
    ...range,
    source: state.normed,
    ...activation,
    ...gateBias,
    ...upBias,
  };
  const down: KernelOp = {
    op: "ffnDown",
    tokenCount,
    layout: record,
    addresses,
    positionCount: word(2),
    ...activation,
    target: state.ffnOutput,
  };
  const lastDown: KernelOp = model.ffn.bias ? { ...down, bias: bias(2) } : down;
  const mask = { base: state.mask.base, stride: neuronCount };
  return {
    staging: memory.allocate(plan.flightBytes, BLOCK_ALIGNMENT_BYTES),
    addresses: memory.words(addresses, neuronCount),
    ids: memory.words(ids, neuronCount),
    order: memory.words(order, neuronCount),
    checksums: memory.words(checksums, neuronCount),
    words: memory.words(words, 8),
    activations: kernels.compile([activations]),
    maskedActivations: kernels.compile([{ ...activations, mask }]),
    down: kernels.compile([down]),
    lastDown: kernels.compile([lastDown]),
    feedForward: kernels.compile([activations, down]),
    lastFeedForward: kernels.compile([activations, lastDown]),
    verify: kernels.compile([
      { op: "crc32c", addresses, ...range, lengthBytes: record.strideBytes, checksums },
    ]),
    ...emptyRequest(neuronCount),
  };
}
