import { randomFillSync } from "node:crypto";
import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { flashlmCommand } from "../lib/flashlm.mjs";
import { run } from "../lib/shell.mjs";
import { ROOT } from "../lib/workspace.mjs";

/** How far a figure may be from its target, relative to it. */
const ACTIVE_TOLERANCE = 0.12;
const WINDOW_TOLERANCE = 0.35;
const SMALL_HEAD_MISSES_LEAST = 0.15;
const POPULARITY_FIT_LEAST = 0.95;
const WRITE_SPEED_LEAST = 0.7;
const DISK_BYTES = 2 * 2 ** 30;
/** Of writing a file and a model, in turn; the median counts. */
const WRITE_ROUNDS = 3;
const PIECE_BYTES = 8 * 2 ** 20;

/** Sequential write speed of the disk under `folder`, in bytes per second: large direct writes of noise, and a flush. */
function diskSpeed(folder) {
  const path = join(folder, "disk");
  const piece = new Uint8Array(new WebAssembly.Memory({ initial: PIECE_BYTES / 65_536 }).buffer);
  randomFillSync(piece);
  let file;
  try {
    file = openSync(path, constants.O_CREAT | constants.O_WRONLY | (constants.O_DIRECT ?? 0));
  } catch {
    file = openSync(path, "w");
  }
  try {
    const startedMs = performance.now();
    for (let doneBytes = 0; doneBytes < DISK_BYTES; doneBytes += piece.length) writeSync(file, piece);
    fsyncSync(file);
    return DISK_BYTES / ((performance.now() - startedMs) / 1000);
  } finally {
    closeSync(file);
    rmSync(path);
  }
}

async function synthesise(preset, folder, flags = []) {
  const out = join(folder, preset);
  rmSync(out, { recursive: true, force: true });
  const [program, args] = flashlmCommand(["synth", "--preset", preset, "--out", out, "--json", ...flags]);
  const { code, output } = await run(program, args, {
    env: { ...process.env, FLASHLM_HOME: join(folder, "home") },
  });
  const line = output.split("\n").findLast((candidate) => candidate.startsWith("{"));
  if (code !== 0 || line === undefined)
    throw new Error(`flashlm synth ended with ${code}:\n${output.slice(-2000)}`);
  return JSON.parse(line);
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const near = (value, target, tolerance) => Math.abs(value / target - 1) <= tolerance;
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Compares what was measured on a dense run with the paper's figures. */
function judge({ preset, statistics }) {
  const { layers } = statistics;
  const heads = layers.flatMap((layer) => (layer.heads === null ? [] : [layer.heads]));
  const shares = layers.map((layer) => layer.activeShare);
  const predicted = mean(heads.map((head) => head.predicted.share));
  const union = mean(heads.map((head) => head.predicted.unionShare));
  const fresh = mean(heads.map((head) => head.predicted.freshShare));
  const missed = Math.min(...heads.map((head) => head.missedBySmallHead));
  const fit = mean(layers.map((layer) => layer.popularity.determination));
  const ok =
    layers.every((layer) => near(layer.activeShare, layer.targetActiveShare, ACTIVE_TOLERANCE)) &&
    near(mean(shares), 0.033, ACTIVE_TOLERANCE) &&
    near(predicted, 0.1, WINDOW_TOLERANCE) &&
    near(union, 0.24, WINDOW_TOLERANCE) &&
    near(fresh, 0.024, WINDOW_TOLERANCE) &&
    missed >= SMALL_HEAD_MISSES_LEAST &&
    fit >= POPULARITY_FIT_LEAST;
  const figure = `${preset}: active ${percent(shares[0])} to ${percent(shares.at(-1))}, mean ${percent(mean(shares))} (paper 1.6 to 5.4, 3.3); predicted ${percent(predicted)} (10); union over 5 ${percent(union)} (24); fresh ${percent(fresh)} (2.4); rank 32 misses at least ${percent(missed)} (15); popularity R2 ${fit.toFixed(3)}`;
  return { ok, figure };
}

/** A model's writing beside the disk's, in MB/s and as a share. */
async function writeRounds(folder) {
  const rounds = [];
  let before = diskSpeed(folder);
  for (let round = 0; round < WRITE_ROUNDS; round++) {
    const { weightBytes, elapsedMs } = await synthesise("opt-1.3b", folder, ["--no-measure"]);
    const after = diskSpeed(folder);
    const speed = (weightBytes * 1000) / elapsedMs;
    const disk = (before + after) / 2;
    rounds.push({ speed: speed / 1e6, disk: disk / 1e6, share: speed / disk });
    before = after;
  }
  return rounds.sort((a, b) => a.share - b.share);
}

async function syntheticStatistics() {
  const parent = join(ROOT, "node_modules/.cache");
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, "synth-"));
  try {
    const tiny = judge(await synthesise("tiny", folder));
    const rounds = await writeRounds(folder);
    const { speed, disk, share } = rounds[WRITE_ROUNDS >> 1];
    const model = judge(await synthesise("opt-1.3b", folder));
    const spread = `${percent(rounds[0].share)} to ${percent(rounds.at(-1).share)}`;
    const figure = `${tiny.figure}; ${model.figure}; written at ${speed.toFixed(0)} MB/s, ${percent(share)} (${spread}) of the disk's ${disk.toFixed(0)} MB/s (at least ${percent(WRITE_SPEED_LEAST)})`;
    return { ok: tiny.ok && model.ok && share >= WRITE_SPEED_LEAST, figure };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Synthetic models behave as the paper's do, measured on dense runs. */
export const points = [
  {
    name: "paper.synth",
    title: "synthetic models have the paper's sparsity, measured, and are written at the speed of the disk",
    heavy: true,
    run: syntheticStatistics,
  },
];
