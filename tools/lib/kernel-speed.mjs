import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ROOT } from "./workspace.mjs";

export const THREADS = 2;
/** Of each case; the middle one of so many is steady where other programs run beside. */
const ROUNDS = 15;
/** What the figures are asked for on (a two-core AVX2 machine); the variant that this machine would choose is measured beside it. */
const ASKED_VARIANT = "avx2";

/** Kernels and their benchmarks; imported late, because the list of points is printed before anything is built. */
export async function loadBench() {
  const load = (path) => import(pathToFileURL(join(ROOT, "packages/kernels", path)).href);
  const [kernels, cases, measure] = await Promise.all(
    ["dist/index.js", "bench/cases.mjs", "bench/measure.mjs"].map(load),
  );
  return { ...kernels, ...cases, ...measure };
}

export const percent = (share) => `${(share * 100).toFixed(0)} %`;

/**
 * Measures cases on several sets that live side by side. `wanted` are `{ create, cases, variant }`; in every round a case runs on one set and at once on
 * the next, before the next case. Returns `{ target, results }` of each set.
 */
export async function measureSets(bench, wanted) {
  const sets = [];
  try {
    for (const { create, cases, variant } of wanted) {
      const caseBytes = cases.reduce((sum, one) => sum + one.setBytes, 65536 * cases.length);
      const memoryBytes = bench.KERNEL_OVERHEAD_BYTES + caseBytes;
      sets.push(await create({ memoryBytes, threadCount: THREADS, ...(variant ? { variant } : {}) }));
    }
    const places = wanted
      .flatMap(({ cases }, set) => cases.map((one, index) => ({ set, index, one })))
      .sort((a, b) => a.index - b.index || a.set - b.set);
    const entries = places.map(({ set, one }) => ({ case: one, run: one.prepare(sets[set]) }));
    const measured = await bench.measureInterleaved(entries, { rounds: ROUNDS });
    return sets.map(({ target }, set) => ({
      target,
      results: measured.filter((_, at) => places[at].set === set),
    }));
  } finally {
    for (const set of sets) await set.close();
  }
}

/** Middle of the rounds' ratios of speeds: both were measured within the same round. `work` is a result's work in any unit, 1 for the same work. */
export function roundRatio(bench, result, base, work = 1, baseWork = 1) {
  return bench.median(result.roundMs.map((ms, round) => work / ms / (baseWork / base.roundMs[round])));
}

/** Whether a set's figures decide: those of the variant that is asked for, or, where it does not exist, of the machine's own. */
export const isAsked = (target) => process.arch !== "x64" || target.endsWith(ASKED_VARIANT);

/** The variant that is asked for, and the one that this machine would choose. Throws where the machine cannot run the first. */
export async function judgedVariants(bench) {
  const usable = (await bench.nativeVariants()).filter(({ missing }) => missing === "");
  const names = usable.map(({ name }) => name);
  if (process.arch === "x64" && !names.includes(ASKED_VARIANT))
    throw new Error(`this machine does not run ${ASKED_VARIANT}, for which the figures are asked: ${names}`);
  return [...new Set([names[0], ...names.filter((name) => name === ASKED_VARIANT)])];
}
