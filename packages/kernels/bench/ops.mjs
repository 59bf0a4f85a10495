// Every op at named shapes on one target: GB/s and GFLOP/s beside a plain loop that reads memory, interleaved in one run.
// node bench/ops.mjs [--target native|wasm] [--threads N] [--shapes 135m|opt-6.7b|llama-2-7b] [--only TEXT] [--smoke]
// `--smoke` runs each case once, on one copy of its weights: that it runs is all that it shows.
import { createNativeKernels, createWasmKernels, KERNEL_OVERHEAD_BYTES } from "@flashlm/kernels";
import { matmulCase, peakCase, readCase, sparseFfnCase } from "./cases.mjs";
import { measureInterleaved } from "./measure.mjs";
import { otherCases } from "./other-cases.mjs";

const isSmoke = process.argv.includes("--smoke");
const cycled = isSmoke ? { cycledBytes: 0 } : {};

function argument(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}

const SHAPES = {
  "135m": { hidden: 576, neurons: 1536, keyValue: 192, heads: 9, keyValueHeads: 3, gated: true },
  "opt-6.7b": { hidden: 4096, neurons: 16384, keyValue: 4096, heads: 32, keyValueHeads: 32, gated: false },
  "llama-2-7b": { hidden: 4096, neurons: 11008, keyValue: 4096, heads: 32, keyValueHeads: 32, gated: true },
};
const DTYPES = [
  ["f32", "f32"],
  ["f16", "f32"],
  ["bf16", "f32"],
  ["q8_0", "f32"],
  ["q8_0", "q8"],
  ["q4_0", "f32"],
  ["q4_0", "q8"],
  ["q4_1", "q8"],
];

function casesOf(name, { hidden, neurons, gated, ...shape }) {
  const parts = (dtype, down) => (gated ? { gate: dtype, up: dtype, down } : { up: dtype, down });
  const ffn = { name, hidden, neurons, share: 0.1, ...cycled };
  const square = { rows: hidden, columns: hidden, ...cycled };
  return [
    ...DTYPES.map(([dtype, precision]) => matmulCase({ ...square, dtype, precision })),
    ...DTYPES.map(([dtype, precision]) => matmulCase({ ...square, dtype, precision, tokens: 64 })),
    sparseFfnCase({ ...ffn, dtypes: parts("f16", "f16") }),
    sparseFfnCase({ ...ffn, dtypes: parts("q8_0", "q8_0"), precision: "q8" }),
    sparseFfnCase({ ...ffn, dtypes: parts("q4_0", "q8_0"), precision: "q8" }),
    ...otherCases({ hidden, neurons, ...shape }, cycled),
  ];
}

async function main() {
  const threadCount = Number(argument("threads", "2"));
  const isNative = argument("target", "native") === "native";
  const create = isNative ? createNativeKernels : createWasmKernels;
  const only = argument("only", "");
  const chosen = argument("shapes", "");
  const effort = isSmoke ? { rounds: 1, roundMs: 0 } : {};
  for (const [name, shape] of Object.entries(SHAPES)) {
    if (chosen !== "" && chosen !== name) continue;
    console.log(`${name}, ${threadCount} threads`);
    for (const one of casesOf(name, shape)) {
      if (!one.name.includes(only)) continue;
      if (!isNative && one.name.includes("/q8")) continue;
      const cases = isNative ? [readCase(isSmoke ? 2 ** 20 : undefined), peakCase(), one] : [one];
      const setBytes = cases.reduce((sum, { setBytes: bytes }) => sum + bytes, KERNEL_OVERHEAD_BYTES + 65536);
      const set = await create({ memoryBytes: setBytes, threadCount });
      const entries = cases.map((entry) => ({ case: entry, run: entry.prepare(set) }));
      const results = await measureInterleaved(entries, effort);
      print(set.target, results);
      await set.close();
    }
  }
}

function print(target, results) {
  const { name, medianMs, gigabytesPerSecond, gigaflops } = results.at(-1);
  const columns = [
    `${medianMs.toFixed(3).padStart(9)} ms`,
    `${gigabytesPerSecond.toFixed(1).padStart(6)} GB/s`,
    `${gigaflops.toFixed(1).padStart(7)} GFLOP/s`,
  ];
  if (results.length === 3) {
    columns.push(`${((gigabytesPerSecond / results[0].gigabytesPerSecond) * 100).toFixed(0)} % of reading`);
    columns.push(`${((gigaflops / results[1].gigaflops) * 100).toFixed(0)} % of peak`);
  }
  console.log(`  ${name.padEnd(48)}${columns.join("  ")}  ${target}`);
}

await main();
