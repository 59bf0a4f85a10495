import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { countTests } from "../lib/counts.mjs";
import { listVariants, onPath, withHarness } from "../lib/kernel-harness.mjs";
import { run } from "../lib/shell.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";
import { ROOT } from "../lib/workspace.mjs";

const THREADS = 2;
const OPT = { name: "OPT-6.7B", hidden: 4096, neurons: 16384, share: 0.1 };
const SPARSE_F16 = { ...OPT, dtypes: { up: "f16", down: "f16" } };

/** Kernels and their benchmarks; imported late, because the list of points is printed before anything is built. */
async function loadBench() {
  const load = (path) => import(pathToFileURL(join(ROOT, "packages/kernels", path)).href);
  const [kernels, cases, measure] = await Promise.all(
    ["dist/index.js", "bench/cases.mjs", "bench/measure.mjs"].map(load),
  );
  return { ...kernels, ...cases, ...measure };
}

const percent = (share) => `${(share * 100).toFixed(0)} %`;

/** Measures cases on one set, in turn; results by name. */
async function measureOn(bench, create, cases) {
  const { KERNEL_OVERHEAD_BYTES, measureInterleaved } = bench;
  const setBytes = cases.reduce(
    (sum, one) => sum + one.setBytes,
    KERNEL_OVERHEAD_BYTES + 65536 * cases.length,
  );
  const set = await create({ memoryBytes: setBytes, threadCount: THREADS });
  try {
    const results = await measureInterleaved(cases.map((one) => ({ case: one, run: one.prepare(set) })));
    return { target: set.target, results };
  } finally {
    await set.close();
  }
}

/** Each case must reach its share of the plain read loop's bandwidth, measured in the same run. */
async function nearMemory(bench, wanted) {
  const { target, results } = await measureOn(bench, bench.createNativeKernels, [
    bench.readCase(),
    ...wanted.map((one) => one.case),
  ]);
  const [read, ...got] = results;
  const shares = got.map(({ gigabytesPerSecond }) => gigabytesPerSecond / read.gigabytesPerSecond);
  const lines = got.map(
    ({ name, gigabytesPerSecond }, i) =>
      `${name}: ${gigabytesPerSecond.toFixed(1)} GB/s, ${percent(shares[i])} (at least ${percent(wanted[i].share)})`,
  );
  return {
    ok: shares.every((share, i) => share >= wanted[i].share),
    figure: `${target}, ${THREADS} threads, memory read ${read.gigabytesPerSecond.toFixed(1)} GB/s; ${lines.join("; ")}`,
  };
}

const BIG = { rows: 4096, columns: 16384 };

async function matvecNearMemory() {
  const bench = await loadBench();
  const { matmulCase } = bench;
  return nearMemory(bench, [
    { case: matmulCase({ ...BIG, dtype: "f16" }), share: 0.9 },
    { case: matmulCase({ ...BIG, dtype: "q8_0", precision: "q8" }), share: 0.85 },
    { case: matmulCase({ ...BIG, dtype: "q4_0", precision: "q8" }), share: 0.7 },
  ]);
}

async function sparseNearMemory() {
  const bench = await loadBench();
  return nearMemory(bench, [{ case: bench.sparseFfnCase(SPARSE_F16), share: 0.85 }]);
}

async function promptNearPeak() {
  const bench = await loadBench();
  const { matmulCase, peakCase } = bench;
  const shape = { rows: 4096, columns: 4096, tokens: 256 };
  const cases = [
    peakCase(),
    matmulCase({ ...shape, dtype: "f16" }),
    matmulCase({ ...shape, dtype: "q8_0", precision: "q8" }),
  ];
  const { target, results } = await measureOn(bench, bench.createNativeKernels, cases);
  const [peak, half, rounded] = results.map(({ gigaflops }) => gigaflops);
  const figure = [
    `${target}: multiply-add peak ${peak.toFixed(0)} GFLOP/s`,
    `f16 ${half.toFixed(0)}, ${percent(half / peak)} of it (at least 60 %)`,
    `q8_0 in integers ${rounded.toFixed(0)} (must be faster)`,
  ];
  return { ok: half >= 0.6 * peak && rounded > half, figure: figure.join("; ") };
}

async function wasmNearNative() {
  const bench = await loadBench();
  const { matmulCase, sparseFfnCase } = bench;
  const cases = () => [
    matmulCase({ ...BIG, dtype: "q8_0", precision: "q8" }),
    sparseFfnCase({ ...OPT, dtypes: { up: "q8_0", down: "q8_0" }, precision: "q8" }),
    sparseFfnCase(SPARSE_F16),
  ];
  const native = await measureOn(bench, bench.createNativeKernels, cases());
  const wasm = await measureOn(bench, bench.createWasmKernels, cases());
  const shares = wasm.results.map(({ medianMs }, i) => native.results[i].medianMs / medianMs);
  const lines = wasm.results.map(({ name }, i) => `${name}: ${percent(shares[i])}`);
  return {
    ok: shares.every((share) => share >= 0.5),
    figure: `${wasm.target} of ${native.target}: ${lines.join("; ")}`,
  };
}

/** Every usable variant under a launcher; lines of what was wrong. */
async function runVariants(program, launcher, variants) {
  const wrong = [];
  for (const [name, state] of variants) {
    const [command, ...args] = [...launcher, program, name];
    const { code, output } = await run(command, args);
    // A variant that the machine lacks must say so with code 3, never crash.
    const clean = state === "usable" ? code === 0 && output.trim() === `${name}: clean` : code === 3;
    if (!clean) wrong.push(`${name} ended with ${code}: ${output.slice(0, 2000)}`);
  }
  return wrong;
}

const VALGRIND = ["valgrind", "-q", "--error-exitcode=9"];

/** An x86-64 processor of 2010 without AVX: every variant must refuse itself there. */
const OLD_PROCESSOR = ["qemu-x86_64", "-cpu", "Westmere"];

async function underTools() {
  const wrong = [];
  const done = [];
  const sanitizers = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"];
  await withHarness(sanitizers, async (program) => {
    const variants = await listVariants(program);
    wrong.push(...(await runVariants(program, [], variants)));
    done.push(`sanitizers on ${variants.filter(([, state]) => state === "usable").map(([name]) => name)}`);
  });
  await withHarness(["-O2"], async (program) => {
    for (const [label, launcher] of [
      ["valgrind", VALGRIND],
      ["a processor without AVX", OLD_PROCESSOR],
    ]) {
      if (onPath(launcher[0]) === undefined) {
        done.push(`${label}: not checked, ${launcher[0]} is not installed`);
        continue;
      }
      const variants = await listVariants(program, launcher);
      wrong.push(...(await runVariants(program, launcher, variants)));
      const states = variants.map(([name, state]) => `${name} ${state === "usable" ? "clean" : "refused"}`);
      done.push(`${label}: ${states.join(", ")}`);
    }
  });
  return { wrong, done };
}

async function targetsAgree() {
  const { report, code } = await vitestReport(["packages/kernels"]);
  const counts = countTests(report, code);
  const { wrong, done } = await underTools();
  const ok = counts.failed === 0 && counts.passed > 0 && wrong.length === 0;
  const tests = `kernel tests: ${counts.passed} passed, ${counts.failed} failed`;
  return { ok, figure: [tests, ...done, ...wrong].join("; ") };
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
  {
    name: "kernels.6",
    title:
      "targets agree with the reference; sanitizers and valgrind are clean; missing instructions are refused",
    heavy: true,
    run: targetsAgree,
  },
];
