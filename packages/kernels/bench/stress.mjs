// Runs one program again and again on several threads and compares every result with one thread, bit by bit.
// Arguments: runs (default 20000), threads (default 2). `--smoke` does 200 runs.
import { rowBytes } from "@flashlm/contracts";
import { createWasmKernels, KERNEL_OVERHEAD_BYTES } from "@flashlm/kernels";

const numbers = process.argv.slice(2).filter((text) => !text.startsWith("--"));
const runCount = process.argv.includes("--smoke") ? 200 : Number(numbers[0] ?? 20_000);
const threadCount = Number(numbers[1] ?? 2);
const [HIDDEN, NEURONS, POSITIONS, HEAD_DIM] = [96, 61, 20, 32];
const dtype = "q8_0";

function fill(bytes) {
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 2654435761) >>> 13;
  for (let i = 1; i < bytes.length; i += 34) bytes[i] = 0x14 | (i & 128);
}

/** The ops that are stressed, over memory that `prepare` allocated. */
function stressedOps({
  tokenCount,
  position,
  query,
  keyCache,
  valueCache,
  source,
  heads,
  shared,
  list,
  end,
  residual,
  target,
  weight,
  addresses,
}) {
  return [
    {
      op: "attention",
      tokenCount,
      position,
      query,
      keyCache,
      valueCache,
      target: source,
      ...heads,
      window: null,
      capacityTokens: POSITIONS,
    },
    {
      op: "ffnActivations",
      ...shared,
      ...list,
      source,
      activationFn: { name: "silu", threshold: 0 },
      upActivation: "none",
    },
    { op: "ffnDown", ...shared, addresses, positionCount: end, target: residual },
    { op: "matmul", tokenCount, weight, source: residual, target, accumulate: false },
  ];
}

/** A function that runs a program and returns the bits of its results. */
function recorder(set, program, places) {
  const views = places.map(([handle, count]) => set.memory.words(handle, count));
  return () => {
    for (const view of views) view.fill(0);
    set.run(program);
    return Buffer.concat(
      views.map((view) =>
        Buffer.from(Uint8Array.from(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))),
      ),
    );
  };
}

/** A set with a program: matmul, activations, down, attention. `run` returns the bits of all results. */
async function prepare(threads) {
  const set = await createWasmKernels({ memoryBytes: KERNEL_OVERHEAD_BYTES + 2 ** 20, threadCount: threads });
  const { memory } = set;
  const word = (value) => {
    const handle = memory.allocate(4);
    memory.words(handle, 1)[0] = value;
    return handle;
  };
  const floats = (count) => {
    const handle = memory.allocate(count * 4);
    for (let i = 0; i < count; i++) memory.floats(handle, count)[i] = Math.fround(Math.sin(i + 1));
    return handle;
  };
  const lengthBytes = rowBytes(dtype, HIDDEN);
  const pitch = Math.ceil(lengthBytes / 16) * 16;
  const parts = ["gate", "up", "down"].map((part, i) => ({
    part,
    dtype,
    lengthBytes,
    offsetBytes: i * pitch,
  }));
  const layout = { hiddenSize: HIDDEN, strideBytes: 3 * pitch, parts };
  const [addresses, order] = [memory.allocate(NEURONS * 4), memory.allocate(NEURONS * 4)];
  for (let i = 0; i < NEURONS; i++) {
    const { offsetBytes } = memory.allocate(3 * pitch);
    memory.words(addresses, NEURONS)[i] = offsetBytes / 16;
    memory.words(order, NEURONS)[i] = i;
    for (const part of parts) {
      fill(memory.bytes({ arenaId: 0, offsetBytes: offsetBytes + part.offsetBytes }, lengthBytes));
    }
  }
  const base = memory.allocate(HIDDEN * lengthBytes);
  fill(memory.bytes(base, HIDDEN * lengthBytes));
  const [tokenCount, position, begin, end] = [word(1), word(POSITIONS - 1), word(0), word(NEURONS)];
  const [query, keyCache, valueCache] = [HIDDEN, POSITIONS * HEAD_DIM, POSITIONS * HEAD_DIM].map(floats);
  const [target, activation, residual, source] = [HIDDEN, NEURONS, HIDDEN, HIDDEN].map(floats);
  const weight = { dtype, rowCount: HIDDEN, columnCount: HIDDEN, base };
  const list = { addresses, ids: order, order, orderBegin: begin, orderEnd: end };
  const shared = { tokenCount, layout, activation, activationStride: NEURONS };
  const heads = { headCount: HIDDEN / HEAD_DIM, keyValueHeadCount: 1, headDim: HEAD_DIM, scale: 0.2 };
  const program = set.compile(
    stressedOps({
      tokenCount,
      position,
      query,
      keyCache,
      valueCache,
      source,
      heads,
      shared,
      list,
      end,
      residual,
      target,
      weight,
      addresses,
    }),
  );
  const places = [
    [source, HIDDEN],
    [activation, NEURONS],
    [residual, HIDDEN],
    [target, HIDDEN],
  ];
  return { set, run: recorder(set, program, places) };
}

const one = await prepare(1);
const many = await prepare(threadCount);
const expected = one.run();
if (expected.every((byte) => byte === 0)) throw new Error("expected results other than zero");
let differing = 0;
for (let i = 0; i < runCount; i++) {
  if (!many.run().equals(expected)) differing++;
  // Now and then long enough that the workers go to sleep.
  if (i % 64 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
}
await one.set.close();
await many.set.close();
console.log(`${runCount} runs with ${threadCount} threads: ${differing} differ`);
process.exitCode = differing > 0 ? 1 : 0;
