import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import {
  type BundleIndex,
  DEMAND_COVERAGE_STEPS,
  DEMAND_WINDOW_MAX,
  type GeneratorReport,
  type LayerDemand,
  type ModelDemand,
} from "@flashlm/contracts";
import type { EngineSpeed, KernelSpeed, LookAheadShares } from "@flashlm/runtime";
import { flashlmHome } from "./home.js";
import type { EngineFlags } from "./options.js";

function pathOf(folder: string, key: unknown): string {
  const name = createHash("sha256").update(JSON.stringify(key)).digest("hex").slice(0, 24);
  return join(flashlmHome(), folder, `${name}.json`);
}

function save(folder: string, key: unknown, value: unknown): void {
  const path = pathOf(folder, key);
  mkdirSync(join(flashlmHome(), folder), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(value)}\n`);
  renameSync(temporary, path);
}

/** What was saved, or null: absent or damaged files are only memories, measured again as needed. */
function load(folder: string, key: unknown): unknown {
  try {
    return JSON.parse(readFileSync(pathOf(folder, key), "utf8"));
  } catch {
    return null;
  }
}

/** Everything that the speed of kernels, and of the engine around them, depends on but the disk. */
function speedKey(bundle: BundleIndex, flags: EngineFlags, threadCount: number): unknown {
  const { model, record, dtype, residentDtype } = bundle.manifest;
  const processor = os.cpus()[0]?.model ?? "";
  const shape = [
    model.family,
    model.hiddenSize,
    model.vocabularySize,
    model.attention,
    model.ffn,
    record,
    dtype,
    ...(residentDtype ? [residentDtype] : []),
  ];
  return [
    4,
    processor,
    flags.kernels,
    flags.dots,
    flags.kvCache,
    flags.cache,
    flags.reader,
    threadCount,
    shape,
  ];
}

const SPEED_FIELDS = [
  "layerMs",
  "positionMs",
  "activationMs",
  "downMs",
  "flightMs",
  "headMs",
  "scoreBytesPerSecond",
] as const;

/** Whether all figures of a saved rehearsal are figures, and there are misses to look between. */
function isEngineSpeed({ sparse, dense }: Partial<EngineSpeed>): boolean {
  const areFigures = (record: object): boolean =>
    Object.values(record).every((figure) => Number.isFinite(figure) && figure >= 0);
  const areCosts = (list: unknown): boolean => Array.isArray(list) && list.length >= 2;
  if (!sparse || !dense || !areCosts(sparse.misses) || !areCosts(sparse.overflows)) return false;
  const { misses, overflows, ...rest } = sparse;
  const { streams, resident, ...chunks } = dense;
  if (!Array.isArray(streams) || streams.length === 0 || resident === undefined) return false;
  return [rest, chunks, resident ?? {}, ...streams, ...misses, ...overflows].every(areFigures);
}

/** Keeps what a probe measured. */
export function saveKernelSpeed(
  bundle: BundleIndex,
  flags: EngineFlags,
  threadCount: number,
  speed: KernelSpeed,
): void {
  save("kernels", speedKey(bundle, flags, threadCount), speed);
}

/** The saved speed of these kernels at this model's shapes, or null. */
export function loadKernelSpeed(
  bundle: BundleIndex,
  flags: EngineFlags,
  threadCount: number,
): KernelSpeed | null {
  const value = load("kernels", speedKey(bundle, flags, threadCount)) as KernelSpeed | null;
  const valid =
    typeof value?.target === "string" &&
    value.threadCount === threadCount &&
    SPEED_FIELDS.every((field) => Number.isFinite(value[field]) && value[field] >= 0) &&
    (value.engine === undefined || isEngineSpeed(value.engine));
  return valid ? value : null;
}

/** Calibration changes the order of records, so a demand belongs to one order. What residents are rounded to hardly changes what is named. */
function demandKey(bundle: BundleIndex, sparsity: string): unknown {
  const { source, dtype, calibration } = bundle.manifest;
  return [1, source.contentHash, dtype, calibration && [calibration.text, calibration.tokenCount], sparsity];
}

/** Keeps what a text was measured to ask of the layers. */
export function saveDemand(bundle: BundleIndex, demand: ModelDemand): void {
  save("demand", demandKey(bundle, demand.sparsity), demand);
}

/** The saved demand of a predictor, or null. */
export function loadDemand(bundle: BundleIndex, sparsity: string): ModelDemand | null {
  const value = load("demand", demandKey(bundle, sparsity)) as ModelDemand | null;
  if (!Array.isArray(value?.layers) || value.layers.length !== bundle.manifest.layers.length) return null;
  const shares = (list: unknown, count: number): boolean =>
    Array.isArray(list) && list.length === count && list.every((share) => share >= 0 && share <= 1);
  const valid = value.layers.every(
    (layer: LayerDemand, index) =>
      layer.neuronCount === bundle.manifest.layers[index]?.neuronCount &&
      layer.namedPerToken >= 0 &&
      layer.namedPerToken <= layer.neuronCount &&
      shares(layer.freshShareByWindow, DEMAND_WINDOW_MAX) &&
      (layer.freshSpreadByWindow ?? []).every((spread) => spread >= 0) &&
      shares(layer.coverageByShare, DEMAND_COVERAGE_STEPS + 1),
  );
  return valid ? value : null;
}

/** What became of a predictor's guesses in one run. */
interface LookAheadRecord extends LookAheadShares {
  readonly recordCount: number;
}

/** Fewer records than this were read early: too few to say anything of the next run. */
const EARLY_RECORDS_MIN = 256;

const NOTHING_EARLY = { recordCount: 0, usedCount: 0, cancelledCount: 0 };

/** Keeps what became of the early reads of a run, where there were enough of them and some were of use. */
export function saveLookAhead(bundle: BundleIndex, sparsity: string, report: GeneratorReport): void {
  const { recordCount, usedCount, cancelledCount } = report.lookAhead ?? NOTHING_EARLY;
  if (recordCount < EARLY_RECORDS_MIN || usedCount === 0) return;
  // What was wanted and read late. The first layer's records are, always: they count against the share of the others, which is as well.
  const lateCount = Math.max(0, report.decodeRecordsRead - (recordCount - cancelledCount));
  const shares: LookAheadRecord = {
    recordCount,
    usedShare: usedCount / recordCount,
    guessedShare: usedCount / (usedCount + lateCount),
  };
  save("look-ahead", demandKey(bundle, sparsity), shares);
}

/** What became of early reads in the last run that had some, or null. */
export function loadLookAhead(bundle: BundleIndex, sparsity: string): LookAheadShares | null {
  const value = load("look-ahead", demandKey(bundle, sparsity)) as LookAheadRecord | null;
  const isShare = (share: unknown): boolean => typeof share === "number" && share > 0 && share <= 1;
  return value && isShare(value.usedShare) && isShare(value.guessedShare) ? value : null;
}
