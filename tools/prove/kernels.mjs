import {
  isAsked,
  judgedVariants,
  loadBench,
  measureSets,
  percent,
  roundRatio,
  THREADS,
} from "../lib/kernel-speed.mjs";

const OPT = { name: "OPT-6.7B", hidden: 4096, neurons: 16384, share: 0.1 };
const SPARSE_F16 = { ...OPT, dtypes: { up: "f16", down: "f16" } };

/** Cases on each judged variant of the native kernels, each variant with its own first case, which the others are compared with. */
async function onVariants(bench, cases) {
  const create = bench.createNativeKernels;
  const variants = await judgedVariants(bench);
  return measureSets(
    bench,
    variants.map((variant) => ({ create, variant, cases: cases() })),
  );
}

/**
 * Each case must reach its share of the plain read loop's bandwidth, in the same round, with the variant that is asked for. Wider vectors read the same memory
 * faster in the plain loop, too; they are given beside it, and decide nothing.
 */
async function nearMemory(bench, wanted) {
  const measured = await onVariants(bench, () => [bench.readCase(), ...wanted.map((one) => one.create())]);
  const lines = [];
  let ok = true;
  for (const { target, results } of measured) {
    const [read, ...got] = results;
    const shares = got.map((one) => roundRatio(bench, one, read, one.bytes, read.bytes));
    if (isAsked(target)) ok &&= shares.every((share, i) => share >= wanted[i].share);
    const figures = got.map(
      ({ name, gigabytesPerSecond }, i) =>
        `${name}: ${gigabytesPerSecond.toFixed(1)} GB/s, ${percent(shares[i])} (at least ${percent(wanted[i].share)})`,
    );
    lines.push(
      `${target}${isAsked(target) ? "" : " (beside it)"}, ${THREADS} threads, memory read ${read.gigabytesPerSecond.toFixed(1)} GB/s; ${figures.join("; ")}`,
    );
  }
  return { ok, figure: lines.join("\n    ") };
}

const BIG = { rows: 4096, columns: 16384 };

async function matvecNearMemory() {
  const bench = await loadBench();
  const { matmulCase } = bench;
  return nearMemory(bench, [
    { create: () => matmulCase({ ...BIG, dtype: "f16" }), share: 0.9 },
    { create: () => matmulCase({ ...BIG, dtype: "q8_0", precision: "q8" }), share: 0.85 },
    { create: () => matmulCase({ ...BIG, dtype: "q4_0", precision: "q8" }), share: 0.7 },
  ]);
}

async function sparseNearMemory() {
  const bench = await loadBench();
  return nearMemory(bench, [{ create: () => bench.sparseFfnCase(SPARSE_F16), share: 0.85 }]);
}

async function promptNearPeak() {
  const bench = await loadBench();
  const { matmulCase, peakCase } = bench;
  const shape = { rows: 4096, columns: 4096, tokens: 256 };
  const measured = await onVariants(bench, () => [
    peakCase(),
    matmulCase({ ...shape, dtype: "f16" }),
    matmulCase({ ...shape, dtype: "q8_0", precision: "q8" }),
  ]);
  const lines = [];
  let ok = true;
  for (const { target, results } of measured) {
    const [peak, half, rounded] = results;
    const share = roundRatio(bench, half, peak, half.flops, peak.flops);
    const gain = roundRatio(bench, rounded, half);
    ok &&= share >= 0.6 && gain > 1;
    lines.push(
      `${target}: multiply-add peak ${peak.gigaflops.toFixed(0)} GFLOP/s; f16 ${half.gigaflops.toFixed(0)}, ${percent(share)} of it (at least 60 %); q8_0 in integers ${rounded.gigaflops.toFixed(0)}, ${gain.toFixed(2)} times f16 (must be faster)`,
    );
  }
  return { ok, figure: lines.join("\n    ") };
}

async function wasmNearNative() {
  const bench = await loadBench();
  const { matmulCase, sparseFfnCase } = bench;
  const cases = () => [
    matmulCase({ ...BIG, dtype: "q8_0", precision: "q8" }),
    sparseFfnCase({ ...OPT, dtypes: { up: "q8_0", down: "q8_0" }, precision: "q8" }),
    sparseFfnCase(SPARSE_F16),
  ];
  const [native, wasm] = await measureSets(
    bench,
    [bench.createNativeKernels, bench.createWasmKernels].map((create) => ({ create, cases: cases() })),
  );
  const shares = wasm.results.map((one, i) => roundRatio(bench, one, native.results[i]));
  const lines = wasm.results.map(({ name }, i) => `${name}: ${percent(shares[i])}`);
  return {
    ok: shares.every((share) => share >= 0.5),
    figure: `${wasm.target} of ${native.target}: ${lines.join("; ")}`,
  };
}

/** Points of the kernels; add one by adding a row. */
export const points = [
  {
    name: "kernels.1",
    title: "matrix times vector at the speed of memory: f16 90 %, q8_0 85 %, q4_0 70 %",
    heavy: false,
    run: matvecNearMemory,
  },
  {
    name: "kernels.2",
    title: "sparse FFN at OPT-6.7B shape, 10 % of the records in random slots: 85 % of the memory's speed",
    heavy: false,
    run: sparseNearMemory,
  },
  {
    name: "kernels.3",
    title: "prompt products reach 60 % of the multiply-add peak in f16, integers are faster",
    heavy: false,
    run: promptNearPeak,
  },
  {
    name: "kernels.4",
    title: "WASM at half of native's speed on q8_0 and the sparse FFN",
    heavy: false,
    run: wasmNearNative,
  },
];
