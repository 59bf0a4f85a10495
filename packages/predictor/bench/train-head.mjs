// What a head costs at the shape of OPT-6.7B: its starting point, and training it from there. Random inputs whose directions vary unequally; random codes.
// Usage: node bench/train-head.mjs [--smoke] [--tokens 1790] [--rank 128] [--epochs 3] [--threads 2] [--kernels auto]   (after `npm run build`)
import { kernelMemoryBytes, loadKernels } from "../../kernels/dist/index.js";
import { HeadTrainer, trainingBytes } from "../dist/index.js";

const smoke = process.argv.includes("--smoke");
const option = (name, otherwise) =>
  process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : otherwise;
const HIDDEN_SIZE = smoke ? 96 : 4096;
const NEURON_COUNT = smoke ? 250 : 16_384;
const TOKEN_COUNT = Number(option("--tokens", smoke ? 80 : 1790));
const RANK = Number(option("--rank", smoke ? 16 : 128));
const EPOCH_COUNT = Number(option("--epochs", 3));
const threadCount = Number(option("--threads", 2));
const target = option("--kernels", "auto");
const ACTIVE_SHARE = 0.05;

function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

/** Numbers between -1 and 1 as bf16, smaller towards the end of a row. */
function makeInputs(seed) {
  const next = random(seed);
  const floats = Float32Array.from(
    { length: TOKEN_COUNT * HIDDEN_SIZE },
    (_, at) => (2 * next() - 1) / (1 + ((at % HIDDEN_SIZE) * 64) / HIDDEN_SIZE),
  );
  return Uint16Array.from(new Uint32Array(floats.buffer), (bits) => bits >>> 16);
}

function makeSamples(lookAhead) {
  const next = random(3);
  const inputs = makeInputs(1);
  const tokens = Uint32Array.from({ length: TOKEN_COUNT }, (_, token) => token);
  return {
    hiddenSize: HIDDEN_SIZE,
    neuronCount: NEURON_COUNT,
    inputs,
    targetInputs: lookAhead ? makeInputs(2) : inputs,
    codes: Uint8Array.from({ length: TOKEN_COUNT * NEURON_COUNT }, () =>
      next() < ACTIVE_SHARE ? 1 + Math.floor(255 * next()) : 0,
    ),
    contributionOfCode: Float32Array.from({ length: 256 }, (_, code) => code / 8),
    training: tokens.filter((token) => token % 8 !== 7),
    heldOut: tokens.filter((token) => token % 8 === 7),
    weight: Float32Array.from({ length: NEURON_COUNT * HIDDEN_SIZE }, () => next() - 0.5),
    bias: new Float32Array(NEURON_COUNT).fill(-1),
  };
}

const shape = {
  hiddenSize: HIDDEN_SIZE,
  neuronCount: NEURON_COUNT,
  rank: RANK,
  batchTokens: smoke ? 32 : 256,
};
const options = {
  epochCount: EPOCH_COUNT,
  learningRate: 0.03,
  weightDecay: 0.01,
  contributionPower: 0.5,
  headDtype: "q8_0",
  seed: 1,
};
const memoryBytes = kernelMemoryBytes(trainingBytes(shape), { threadCount, kernels: target });
const kernels = await loadKernels({ target, memoryBytes, threadCount });
try {
  const trainer = new HeadTrainer(kernels, shape);
  console.log(
    `${kernels.target}, ${threadCount} threads, ${(memoryBytes / 2 ** 20).toFixed(0)} MiB for ${NEURON_COUNT} neurons of ${HIDDEN_SIZE} inputs, rank ${RANK}, ${TOKEN_COUNT} tokens`,
  );
  for (const lookAhead of [false, true]) {
    const samples = makeSamples(lookAhead);
    const seconds = async (epochCount) => {
      const begin = performance.now();
      await trainer.train(samples, { ...options, epochCount });
      return (performance.now() - begin) / 1000;
    };
    const start = await seconds(0);
    const whole = EPOCH_COUNT > 0 ? await seconds(EPOCH_COUNT) : start;
    console.log(
      `${lookAhead ? "look-ahead" : "own inputs"}: start and its measurement ${start.toFixed(2)} s, with ${EPOCH_COUNT} epochs ${whole.toFixed(2)} s`,
    );
  }
} finally {
  await kernels.close();
}
