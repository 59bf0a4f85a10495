import type {
  BundleHead,
  BundleManifest,
  HeadName,
  KernelOp,
  KernelProgram,
  MemoryHandle,
  PredictorContext,
  PredictorPart,
  SparsityPredictor,
} from "@flashlm/contracts";
import { alignUp, FlashlmError } from "@flashlm/contracts";
import { checkIds, checkTarget, layerTensorName, notAvailable } from "./checks.js";
import { headPredictedShare, headThreshold } from "./head-threshold.js";
import { neuronCountMax } from "./scored.js";

/** Missed share of the contribution unless one is asked for. */
const MISSED_SHARE_USUAL = 0.02;

/** How trained heads are used. */
export interface LowRankOptions {
  /** Share of each layer's contribution that may be missed; must lie within the trained points. Default 0.02. */
  readonly missedShare?: number;
  /**
   * Which head says what is computed. "lowrank" (default) is pure. "lookahead" computes what the layer before named: one head per layer says both what
   * to read early and what to compute; layers must then be asked in ascending order, as a forward pass does. Layer 0 has its own head in both.
   */
  readonly head?: HeadName;
  /** Offers look-ahead. Beside "lowrank" it is a guess, for reads only, whose heads then take memory too; with "lookahead" it is exact and takes none. */
  readonly lookAhead?: boolean;
}

const PARTS = ["a.weight", "b.weight", "bias"] as const;

function headTensors(head: HeadName): readonly string[] {
  return PARTS.map((part) => `${head}.${part}`);
}

function headsOf(name: string, manifest: BundleManifest, which: HeadName): readonly BundleHead[] {
  const heads = manifest.heads?.[which] ?? [];
  const wantedCount = manifest.layers.length - (which === "lookahead" ? 1 : 0);
  if (heads.length === wantedCount && wantedCount > 0) return heads;
  throw notAvailable(
    name,
    `the bundle has ${heads.length} of ${wantedCount} trained ${which} heads`,
    "run flashlm train-predictor, or use dense",
  );
}

/** Scores of one head at a time: scratch for `a * x` and for the scores. */
interface ScoreArea {
  readonly low: MemoryHandle;
  readonly scores: MemoryHandle;
  readonly floats: Float32Array;
}

function rankMax(manifest: BundleManifest): number {
  const { lowrank = [], lookahead = [] } = manifest.heads ?? {};
  return [...lowrank, ...lookahead].reduce((most, head) => Math.max(most, head.rank), 1);
}

function areaBytes(manifest: BundleManifest, tokenCapacity: number): readonly [low: number, scores: number] {
  const bytes = (count: number): number => alignUp(Math.max(1, tokenCapacity * count) * 4, 64);
  return [bytes(rankMax(manifest)), bytes(neuronCountMax(manifest))];
}

function createArea({ kernels, manifest, tokenCapacity }: PredictorContext): ScoreArea {
  const [lowBytes, scoreBytes] = areaBytes(manifest, tokenCapacity);
  const low = kernels.memory.allocate(lowBytes);
  const scores = kernels.memory.allocate(scoreBytes);
  return {
    low,
    scores,
    floats: kernels.memory.floats(scores, tokenCapacity * neuronCountMax(manifest)),
  };
}

/** Scores of the only token. */
function rowOf({ floats }: ScoreArea, manifest: BundleManifest, layerIndex: number): Float32Array {
  return floats.subarray(0, manifest.layers[layerIndex]!.neuronCount);
}

function headOps(
  { tokenCount, hidden, tensor }: PredictorContext,
  which: HeadName,
  { layerIndex, activation }: BundleHead,
  { low, scores }: ScoreArea,
): readonly KernelOp[] {
  const weight = (part: (typeof PARTS)[number]) => tensor(layerTensorName(layerIndex, `${which}.${part}`));
  const first = weight("a.weight");
  const bias = weight("bias").base;
  return [
    activation === "relu"
      ? {
          op: "neuronScores",
          kind: "gate",
          tokenCount,
          gate: first,
          activationFn: { name: "relu", threshold: 0 },
          upActivation: "none",
          source: hidden,
          scores: low,
        }
      : { op: "matmul", tokenCount, weight: first, source: hidden, target: low, accumulate: false },
    {
      op: "matmul",
      tokenCount,
      weight: weight("b.weight"),
      source: low,
      target: scores,
      bias,
      accumulate: false,
    },
  ];
}

/** One kind of head over all layers: `ops[n]` reads layer n's hidden state, `area(n)` then holds its scores. */
interface HeadSet {
  readonly ops: readonly (readonly KernelOp[])[];
  area(layerIndex: number): ScoreArea;
  /** Mask rows of `neuronCount` neurons from the scores that layer `from` made; NaN is kept: it must reach the output. */
  select(from: number, elementCount: number, mask: Uint8Array): number;
  /** The same neurons of a single token, by their ids. */
  list(from: number, neuronCount: number, ids: Uint32Array, margin: number): number;
}

function createHeads(
  name: string,
  [which, heads]: readonly [HeadName, readonly BundleHead[]],
  missedShare: number | null,
  context: PredictorContext,
  areas: readonly ScoreArea[],
): HeadSet {
  const area = (layerIndex: number): ScoreArea => areas[layerIndex % areas.length]!;
  const thresholds = Float64Array.from(heads, (head) =>
    headThreshold(name, head, missedShare, MISSED_SHARE_USUAL),
  );
  return {
    area,
    ops: heads.map((head) => headOps(context, which, head, area(head.layerIndex))),
    list: (from, neuronCount, ids, margin) =>
      listAbove(area(from).floats, neuronCount, thresholds[from]! + margin, ids),
    select(from, elementCount, mask) {
      const { floats } = area(from);
      const threshold = thresholds[from]!;
      let keptCount = 0;
      for (let index = 0; index < elementCount; index++) {
        const kept = floats[index]! <= threshold ? 0 : 1;
        mask[index] = kept;
        keptCount += kept;
      }
      return keptCount;
    },
  };
}

/** Ids of the scores that are not at most `threshold`, ascending. Without a branch that depends on a score: those cannot be foretold. */
function listAbove(scores: Float32Array, count: number, threshold: number, ids: Uint32Array): number {
  let listedCount = 0;
  for (let id = 0; id < count; id++) {
    ids[listedCount] = id;
    listedCount += scores[id]! <= threshold ? 0 : 1;
  }
  return listedCount;
}

function createOwn(name: string, options: LowRankOptions, context: PredictorContext): SparsityPredictor {
  const { kernels, manifest, tokenCapacity } = context;
  const missedShare = options.missedShare ?? null;
  const createSet = (which: HeadName): HeadSet =>
    createHeads(name, [which, headsOf(name, manifest, which)], missedShare, context, [createArea(context)]);
  const compile = (set: HeadSet): readonly KernelProgram[] => set.ops.map((ops) => kernels.compile(ops));
  const own = createSet("lowrank");
  const programs = compile(own);
  const elementCount = (layerIndex: number, tokenCount: number, mask: Uint8Array): number =>
    tokenCount * checkTarget(manifest, tokenCapacity, layerIndex, tokenCount, mask);
  const predictor: SparsityPredictor = {
    contractVersion: 1,
    name,
    scoreProgram: (layerIndex) => programs[layerIndex] ?? null,
    predictInto: (layerIndex, tokenCount, { mask }) =>
      own.select(layerIndex, elementCount(layerIndex, tokenCount, mask), mask),
    scores: (layerIndex) => rowOf(own.area(layerIndex), manifest, layerIndex),
  };
  if (!options.lookAhead) return predictor;
  const next = createSet("lookahead");
  const nextPrograms = compile(next);
  return {
    ...predictor,
    lookAheadProgram: (layerIndex) => nextPrograms[layerIndex] ?? null,
    lookAheadInto: (layerIndex, ids, margin) =>
      next.list(layerIndex, checkIds(manifest, layerIndex + 1, ids), ids, margin),
    lookAheadScores: (layerIndex) => rowOf(next.area(layerIndex), manifest, layerIndex + 1),
  };
}

/** Two areas in turn: what layer n - 1 scored for layer n stands while layer n scores for n + 1. */
function createAhead(name: string, options: LowRankOptions, context: PredictorContext): SparsityPredictor {
  const { kernels, manifest, tokenCapacity } = context;
  const missedShare = options.missedShare ?? null;
  const [firstHead] = headsOf(name, manifest, "lowrank");
  const first = createHeads(name, ["lowrank", [firstHead!]], missedShare, context, [createArea(context)]);
  const areas = [createArea(context), createArea(context)];
  const heads = headsOf(name, manifest, "lookahead");
  const ahead = createHeads(name, ["lookahead", heads], missedShare, context, areas);
  const programs = ahead.ops.map((ops, layerIndex) =>
    kernels.compile(layerIndex === 0 ? [...first.ops[0]!, ...ops] : ops),
  );
  const elementCount = (layerIndex: number, tokenCount: number, mask: Uint8Array): number =>
    tokenCount * checkTarget(manifest, tokenCapacity, layerIndex, tokenCount, mask);
  const predictor: SparsityPredictor = {
    contractVersion: 1,
    name,
    scoreProgram: (layerIndex) => programs[layerIndex] ?? null,
    predictInto(layerIndex, tokenCount, { mask }) {
      const count = elementCount(layerIndex, tokenCount, mask);
      return layerIndex === 0 ? first.select(0, count, mask) : ahead.select(layerIndex - 1, count, mask);
    },
    scores: (layerIndex) =>
      rowOf(layerIndex === 0 ? first.area(0) : ahead.area(layerIndex - 1), manifest, layerIndex),
  };
  if (!options.lookAhead) return predictor;
  return {
    ...predictor,
    lookAheadProgram: () => null,
    lookAheadInto: (layerIndex, ids, margin) =>
      ahead.list(layerIndex, checkIds(manifest, layerIndex + 1, ids), ids, margin),
    lookAheadScores: (layerIndex) => rowOf(ahead.area(layerIndex), manifest, layerIndex + 1),
  };
}

/**
 * The low-rank predictor of the paper: a trained head per layer scores each neuron from the FFN's input, `b * (a * x) + bias`, and those above the
 * layer's threshold are predicted. Lossy; `flashlm train-predictor` writes the heads, `manifest.heads` holds what they reach.
 * @throws PREDICTOR_OPTION for a missed share that is not above 0 and below 1 (here) or that the heads were not trained for (`create`);
 * `tensorNames` and `create` throw PREDICTOR_NOT_AVAILABLE for bundles without heads.
 */
export function lowRankPredictor(options: LowRankOptions = {}): PredictorPart {
  const { missedShare, head = "lowrank", lookAhead = false } = options;
  const isAhead = head === "lookahead";
  const name = `${head}${lookAhead && !isAhead ? "+lookahead" : ""}${missedShare === undefined ? "" : `:${missedShare}`}`;
  if (missedShare !== undefined && !(missedShare > 0 && missedShare < 1)) {
    throw new FlashlmError(
      "PREDICTOR_OPTION",
      `${name}: the missed share must be above 0 and below 1 (0.02 misses 2 % of the contribution), got ${missedShare}`,
      { missedShare },
    );
  }
  const areaCount = isAhead ? 3 : lookAhead ? 2 : 1;
  return {
    name,
    lossless: false,
    dense: false,
    lookAhead,
    lookAheadIsExact: lookAhead && isAhead,
    tensorNames(manifest, layerIndex) {
      headsOf(name, manifest, "lowrank");
      if (lookAhead || isAhead) headsOf(name, manifest, "lookahead");
      const own = isAhead && layerIndex > 0 ? [] : headTensors("lowrank");
      return [...own, ...(lookAhead || isAhead ? headTensors("lookahead") : [])];
    },
    expectedShare(manifest, layerIndex) {
      const which = isAhead && layerIndex > 0 ? "lookahead" : "lowrank";
      const from = which === "lookahead" ? layerIndex - 1 : layerIndex;
      const own = headsOf(name, manifest, which)[from];
      return own ? headPredictedShare(name, own, missedShare ?? null, MISSED_SHARE_USUAL) : null;
    },
    scratchBytes(manifest, tokenCapacity) {
      const [lowBytes, scoreBytes] = areaBytes(manifest, tokenCapacity);
      return areaCount * (lowBytes + scoreBytes);
    },
    create: (context) => (isAhead ? createAhead(name, options, context) : createOwn(name, options, context)),
  };
}
