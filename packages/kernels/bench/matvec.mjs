// GB/s of weights and GMAC/s by op, at the shapes of a 135M model. `--smoke` runs each case once.
import { rowBytes } from "@flashlm/contracts";
import { createWasmKernels, KERNEL_OVERHEAD_BYTES } from "@flashlm/kernels";

const smoke = process.argv.includes("--smoke");
const MEASURE_MS = smoke ? 0 : 400;
const SHAPES = smoke
  ? [[1536, 576]]
  : [
      [1536, 576],
      [576, 1536],
      [49152, 576],
    ];
const DTYPES = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];
const threadCounts = smoke ? [1] : [1, 2];

/** Runs until the time is over and returns milliseconds per run. */
function measure(set, program) {
  set.run(program);
  let runCount = 0;
  const start = performance.now();
  do {
    set.run(program);
    runCount++;
  } while (performance.now() - start < MEASURE_MS);
  return (performance.now() - start) / runCount;
}

/** Small normal numbers: subnormal ones are slower to compute with and rare in models. */
function fillWeights(dtype, bytes) {
  const [step, first, top] = {
    f32: [4, 3, 0x3c],
    f16: [2, 1, 0x28],
    bf16: [2, 1, 0x3c],
    q8_0: [34, 1, 0x14],
    q4_0: [18, 1, 0x20],
    q4_1: [20, 1, 0x20],
  }[dtype];
  bytes.fill(0x93);
  for (let i = first; i < bytes.length; i += step) bytes[i] = top;
  // Minimums below zero, of the size of eight steps.
  if (dtype === "q4_1") for (let i = 3; i < bytes.length; i += step) bytes[i] = 0xac;
}

async function bench(dtype, precision, rowCount, columnCount, tokenCount, threadCount) {
  const weightBytes = rowCount * rowBytes(dtype, columnCount);
  const activationBytes = tokenCount * (rowCount + columnCount) * 4;
  const memoryBytes = KERNEL_OVERHEAD_BYTES + weightBytes + activationBytes + 65536;
  const set = await createWasmKernels({ memoryBytes, threadCount });
  const weight = { dtype, rowCount, columnCount, base: set.memory.allocate(weightBytes) };
  fillWeights(dtype, set.memory.bytes(weight.base, weightBytes));
  const source = set.memory.allocate(tokenCount * columnCount * 4);
  const target = set.memory.allocate(tokenCount * rowCount * 4);
  const tokens = set.memory.allocate(4);
  set.memory.words(tokens, 1)[0] = tokenCount;
  const op = { op: "matmul", precision, tokenCount: tokens, weight, source, target, accumulate: false };
  const elapsedMs = measure(set, set.compile([op]));
  await set.close();
  const gigabytes = weightBytes / elapsedMs / 1e6;
  const gigamacs = (rowCount * columnCount * tokenCount) / elapsedMs / 1e6;
  const name = `${dtype.padEnd(5)}${precision.padEnd(4)}${rowCount}x${columnCount}  T=${tokenCount}  threads=${threadCount}`;
  console.log(
    `${name.padEnd(44)}${gigabytes.toFixed(2).padStart(8)} GB/s ${gigamacs.toFixed(2).padStart(8)} GMAC/s`,
  );
}

for (const [rowCount, columnCount] of SHAPES) {
  for (const dtype of DTYPES) {
    for (const tokenCount of rowCount > 10_000 ? [1] : [1, 64]) {
      for (const precision of dtype.startsWith("q") ? ["f32", "q8"] : ["f32"]) {
        for (const threadCount of threadCounts)
          await bench(dtype, precision, rowCount, columnCount, tokenCount, threadCount);
      }
    }
  }
}
