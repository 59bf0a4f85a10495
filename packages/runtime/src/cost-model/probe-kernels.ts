import {
  ADDRESS_UNIT_BYTES,
  type BundleIndex,
  type CacheDtype,
  type DotPrecision,
  type KernelProgram,
  type KernelSet,
  type KernelSetOptions,
  type MemoryHandle,
  type PredictorPart,
  type WeightRef,
} from "@flashlm/contracts";
import { layerBlock, layerTensor } from "../blocks.js";
import { withPrecision } from "../dot-precision.js";
import { LayerOps } from "../families/layer-ops.js";
import { findFamily } from "../families/registry.js";
import { BIAS_WORD_INDEX, createFlight, type Flight } from "../flight.js";
import { type MemoryPlan, planMemory } from "../memory-plan.js";
import { createRunState, type RunState } from "../run-state.js";
import { Apart, apartBytes } from "./apart.js";
import { firstLayers } from "./first-layers.js";
import type { KernelSpeed } from "./kernel-speed.js";

/** Weights that are cycled through: more than the caches of most processors hold, so that they come from memory as in a run. */
const WEIGHT_BYTES = 96 * 1024 * 1024;
/** Layers of the probed model at most. */
const LAYER_COUNT_MAX = 24;
/** Positions attended to in the longer of two measurements. */
const POSITION_COUNT = 256;
const MEASURE_MS = 120;
const RUN_COUNT_MIN = 5;
/** Copies of a head that are cycled through at most; those of tiny models fit the processor's caches in a run, too. */
const HEAD_COPIES_MAX = 32;
/** As weights of any dtype this byte gives normal numbers: f16 1.06, f32 and bf16 0.011, blocks of scale 1.06. */
const WEIGHT_BYTE = 0x3c;

/** What a probe is made from. */
export interface ProbeParts {
  readonly bundle: BundleIndex;
  /** Makes the kernels that the run will use. The probe closes them. */
  createKernels(options: KernelSetOptions): Promise<KernelSet>;
  readonly kernelOverheadBytes: number;
  readonly threadCount: number;
  readonly cacheDtype: CacheDtype | null;
  readonly precision: DotPrecision;
}

/** Takes no weights and no scratch: attention and FFN are probed without a predictor. */
const NO_PREDICTOR: PredictorPart = {
  name: "none",
  lossless: true,
  dense: true,
  tensorNames: () => [],
  scratchBytes: () => 0,
  create() {
    throw new Error("a probe makes no predictor");
  },
};

/**
 * Measures what compute costs at a bundle's shapes, on made-up weights: nothing is read. Takes some 300 to 700 ms and some 100 to 230 MiB, more where
 * one layer's attention is larger.
 *
 * @throws KERNEL_* as the kernels do.
 */
export async function probeKernels(parts: ProbeParts): Promise<KernelSpeed> {
  const blockBytes = layerBlock(parts.bundle, 0).lengthBytes;
  const layerCount = Math.max(
    1,
    Math.min(LAYER_COUNT_MAX, parts.bundle.manifest.layers.length, Math.floor(WEIGHT_BYTES / blockBytes)),
  );
  const bundle = firstLayers(parts.bundle, layerCount);
  const plan = planMemory({
    bundle,
    predictor: NO_PREDICTOR,
    memoryBytes: Number.POSITIVE_INFINITY,
    contextLength: Math.min(POSITION_COUNT, bundle.manifest.model.contextLengthMax),
    contextNeeded: 0,
    promptChunkTokens: 1,
    kernelOverheadBytes: parts.kernelOverheadBytes,
    cacheDtype: parts.cacheDtype,
  });
  const weightBytes = Math.max(WEIGHT_BYTES, layerCount * (blockBytes + 64));
  const created = await parts.createKernels({
    memoryBytes: withoutWeights(plan) + weightBytes + apartBytes(bundle),
    threadCount: parts.threadCount,
  });
  const kernels = withPrecision(created, parts.precision);
  try {
    return await new Probe(bundle, plan, kernels, weightBytes).measure();
  } finally {
    await kernels.close();
  }
}

/** Bytes of a plan's rows that are no weights. */
function withoutWeights(plan: MemoryPlan): number {
  const weights = ["neuron slots", "attention and norms", "embeddings and head"];
  return plan.rows
    .filter((row) => !weights.includes(row.owner))
    .reduce((total, row) => total + row.plannedBytes, 1024 * 1024);
}

class Probe {
  readonly #state: RunState;
  readonly #weights: MemoryHandle;
  readonly #inputs: Float32Array[];
  readonly #apart: Apart;

  constructor(
    readonly bundle: BundleIndex,
    readonly plan: MemoryPlan,
    readonly kernels: KernelSet,
    readonly weightBytes: number,
  ) {
    this.#state = createRunState(bundle, plan, kernels);
    this.#weights = kernels.memory.allocate(weightBytes, 4096);
    kernels.memory.bytes(this.#weights, weightBytes).fill(WEIGHT_BYTE);
    this.#state.tokenCount[0] = 1;
    this.#state.headTokenCount[0] = 1;
    this.#apart = new Apart(kernels, bundle);
    const { hiddenSize } = bundle.manifest.model;
    this.#inputs = [this.#state.hidden, this.#state.normed, this.#state.headInput].map((handle) =>
      kernels.memory.floats(handle, hiddenSize),
    );
  }

  async measure(): Promise<KernelSpeed> {
    const attention = this.#attentionPrograms();
    const layerMs = await this.#time(attention, 0);
    const lastPosition = this.plan.contextLength - 1;
    const fullMs = lastPosition > 0 ? await this.#time(attention, lastPosition) : layerMs;
    const ffn = await this.#measureFfn();
    return {
      target: this.kernels.target,
      threadCount: this.kernels.threadCount,
      layerMs,
      positionMs: Math.max(0, fullMs - layerMs) / Math.max(1, lastPosition),
      ...ffn,
      headMs: await this.#measureHead(),
    };
  }

  #at(offsetBytes: number): MemoryHandle {
    return { arenaId: this.#weights.arenaId, offsetBytes: this.#weights.offsetBytes + offsetBytes };
  }

  #attentionPrograms(): KernelProgram[] {
    const { bundle, plan, kernels } = this;
    const { manifest } = bundle;
    const family = findFamily(manifest.model.family);
    const stepBytes = Math.floor(this.weightBytes / manifest.layers.length / 64) * 64;
    return manifest.layers.map((_, layerIndex) => {
      const block = layerBlock(bundle, layerIndex);
      const weight = (name: string): WeightRef => {
        const tensor = bundle.tensor(`layers.${layerIndex}.${name}`);
        const base = this.#at(layerIndex * stepBytes + tensor.offsetBytes - block.offsetBytes);
        return { dtype: tensor.dtype, rowCount: tensor.rowCount, columnCount: tensor.columnCount, base };
      };
      const vector = (name: string): WeightRef["base"] | undefined =>
        layerTensor(bundle, layerIndex, name) ? weight(name).base : undefined;
      return kernels.compile(
        family.attention(new LayerOps({ bundle, plan, state: this.#state, layerIndex, weight, vector })),
      );
    });
  }

  async #measureFfn(): Promise<
    Pick<KernelSpeed, "activationMs" | "downMs" | "flightMs" | "scoreBytesPerSecond">
  > {
    const { record, model } = this.bundle.manifest;
    const flight = createFlight(this.bundle, this.plan, this.kernels, this.#state);
    const most = Math.floor(this.weightBytes / record.strideBytes);
    const count = Math.max(1, Math.min(model.ffn.neuronCount, most));
    const setCount = Math.max(1, Math.floor(most / count));
    for (let position = 0; position < count; position++) {
      flight.ids[position] = position;
      flight.order[position] = position;
    }
    flight.words.fill(this.#weights.offsetBytes / ADDRESS_UNIT_BYTES, BIAS_WORD_INDEX);
    const use = (used: number) => (run: number) => this.#point(flight, used, (run % setCount) * count);
    const activationMs = (await this.#time([flight.activations], 0, use(count))) / count;
    const downMs = (await this.#time([flight.down], 0, use(count))) / count;
    const flightMs = await this.#time([flight.activations, flight.down], 0, use(1));
    const scoredBytes = record.parts
      .filter((part) => part.part !== "down")
      .reduce((total, part) => total + part.lengthBytes, 0);
    return {
      activationMs,
      downMs,
      flightMs: 2 * flightMs,
      scoreBytesPerSecond: (1000 * scoredBytes) / activationMs,
    };
  }

  /** Points a flight at `count` records from the `first` on. */
  #point(flight: Flight, count: number, first: number): void {
    const { strideBytes } = this.bundle.manifest.record;
    for (let position = 0; position < count; position++)
      flight.addresses[position] =
        (this.#weights.offsetBytes + (first + position) * strideBytes) / ADDRESS_UNIT_BYTES;
    flight.words[0] = 0;
    flight.words[1] = count;
    flight.words[2] = count;
  }

  async #measureHead(): Promise<number> {
    const { model } = this.bundle.manifest;
    const tensor = this.bundle.tensor(model.tiedEmbeddings ? "embedding.weight" : "head.weight");
    const rowCount = Math.min(
      tensor.rowCount,
      Math.floor((this.weightBytes * tensor.rowCount) / tensor.lengthBytes),
    );
    const lengthBytes = Math.ceil((tensor.lengthBytes * rowCount) / tensor.rowCount / 64) * 64;
    const { dtype, columnCount } = tensor;
    const product = (copy: number): KernelProgram =>
      this.kernels.compile([
        {
          op: "matmul",
          tokenCount: this.#state.headTokenCountWord,
          weight: { dtype, rowCount, columnCount, base: this.#at(copy * lengthBytes) },
          source: this.#state.headInput,
          target: this.#state.logits.base,
          accumulate: false,
        },
      ]);
    // A small head read again and again would stay in the processor's caches, which a token's layers have emptied in a run.
    const copies = Math.max(1, Math.min(HEAD_COPIES_MAX, Math.floor(this.weightBytes / lengthBytes)));
    const programs = Array.from({ length: copies }, (_, copy) => product(copy));
    return ((await this.#time(programs, 0)) * tensor.rowCount) / rowCount;
  }

  /** Median milliseconds per program, over runs that take one after another. `before` is not timed. */
  async #time(
    programs: readonly KernelProgram[],
    position: number,
    before?: (run: number) => void,
  ): Promise<number> {
    this.#state.position[0] = position;
    const times: number[] = [];
    const begin = performance.now();
    for (let run = 0; run < RUN_COUNT_MIN || performance.now() - begin < MEASURE_MS; run++) {
      await this.#apart.since(performance.now());
      // Residuals would grow without bound.
      for (const input of this.#inputs) input.fill(1);
      before?.(run);
      const start = performance.now();
      for (const program of programs) {
        const running = this.kernels.run(program);
        if (running) await running;
      }
      times.push((performance.now() - start) / programs.length);
    }
    return times.sort((a, b) => a - b)[times.length >> 1]!;
  }
}
