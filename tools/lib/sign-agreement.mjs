import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ROOT } from "./workspace.mjs";

const WORD_BITS = 32;
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

/** Built packages, imported late: the list of points is printed before anything is built. */
async function loadPackages() {
  const names = ["bundler", "runtime", "kernels", "flash-io", "window-cache"];
  const load = (name) => import(pathToFileURL(join(ROOT, "packages", name, "dist/index.js")).href);
  return Object.assign({}, ...(await Promise.all(names.map(load))));
}

function readTensor(bundle, name) {
  const tensor = bundle.tensor(name);
  const bytes = new Uint8Array(tensor.lengthBytes);
  const file = openSync(bundle.filePaths[tensor.fileIndex], "r");
  try {
    readSync(file, bytes, 0, bytes.length, tensor.offsetBytes);
  } finally {
    closeSync(file);
  }
  return { tensor, bytes };
}

/** Writes the signs of `columnCount` values from `from` on: a bit is set for a negative one. */
function packSigns(values, from, columnCount, words, at) {
  words.fill(0, at, at + columnCount / WORD_BITS);
  for (let column = 0; column < columnCount; column++)
    if (values[from + column] < 0) words[at + (column >> 5)] |= 1 << (column & 31);
}

/** Sign bits of every gate row of a layer. */
function gateSigns(bundle, layerIndex, decodeRow) {
  const { tensor, bytes } = readTensor(bundle, `layers.${layerIndex}.exact.gate.weight`);
  const { rowCount, columnCount, dtype } = tensor;
  const rowBytes = bytes.length / rowCount;
  const words = new Uint32Array((rowCount * columnCount) / WORD_BITS);
  const row = new Float32Array(columnCount);
  for (let index = 0; index < rowCount; index++) {
    decodeRow(dtype, bytes.subarray(index * rowBytes, (index + 1) * rowBytes), row);
    packSigns(row, 0, columnCount, words, (index * columnCount) / WORD_BITS);
  }
  return words;
}

function setBits(word) {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  bits = (bits + (bits >>> 4)) & 0x0f0f0f0f;
  return Math.imul(bits, 0x01010101) >>> 24;
}

/** A predictor that predicts everything and, on the way, counts for each neuron how many signs of its gate row agree with the input's. */
function countingPart({ manifest }, signs, agreeing) {
  const { hiddenSize, ffn } = manifest.model;
  const wordCount = hiddenSize / WORD_BITS;
  const create = ({ kernels, tokenCapacity, hidden }) => {
    const inputs = kernels.memory.floats(hidden, tokenCapacity * hiddenSize);
    const input = new Uint32Array(wordCount);
    agreeing.counts = new Uint16Array(tokenCapacity * ffn.neuronCount);
    const predictInto = (layerIndex, tokenCount, { mask }) => {
      for (let at = 0; at < tokenCount * ffn.neuronCount; at++) {
        const neuron = at % ffn.neuronCount;
        if (neuron === 0) packSigns(inputs, (at / ffn.neuronCount) * hiddenSize, hiddenSize, input, 0);
        let differing = 0;
        for (let word = 0; word < wordCount; word++)
          differing += setBits(signs[layerIndex][neuron * wordCount + word] ^ input[word]);
        agreeing.counts[at] = hiddenSize - differing;
      }
      mask.fill(1, 0, tokenCount * ffn.neuronCount);
      return tokenCount * ffn.neuronCount;
    };
    return { contractVersion: 1, name: "signs", scoreProgram: () => null, predictInto };
  };
  const rest = { tensorNames: () => [], scratchBytes: () => 0, create };
  return { name: "signs", lossless: true, dense: false, ...rest };
}

/**
 * Runs a gated ReLU model densely over the first tokens of a text and counts, per layer and number of agreeing signs (`[hiddenSize + 1]`), active neurons,
 * inactive ones and the contribution `abs(h) * norm(down)`.
 */
export async function signAgreement(bundlePath, text, tokenCount) {
  const packages = await loadPackages();
  const bundle = await packages.openBundle(bundlePath);
  const { layers, model } = bundle.manifest;
  const { neuronCount } = model.ffn;
  const signs = layers.map((_, layer) => gateSigns(bundle, layer, packages.decodeRow));
  const norms = layers.map(
    (_, layer) => new Float32Array(readTensor(bundle, `layers.${layer}.shadow.down_norm`).bytes.buffer),
  );
  const zeros = () => new Float64Array(model.hiddenSize + 1);
  const counts = layers.map(() => ({ active: zeros(), inactive: zeros(), contribution: zeros() }));
  const agreeing = {};
  const onActivations = ({ layerIndex, ids, count }, tokens, activation) => {
    const { active, inactive, contribution } = counts[layerIndex];
    for (let token = 0; token < tokens; token++)
      for (let position = 0; position < count; position++) {
        const value = activation[token * neuronCount + position];
        const agreed = agreeing.counts[token * neuronCount + ids[position]];
        if (value === 0) inactive[agreed]++;
        else active[agreed]++;
        contribution[agreed] += Math.abs(value) * norms[layerIndex][ids[position]];
      }
  };
  const tokenizer = await packages.loadTokenizer(bundlePath);
  const tokens = tokenizer.encode(text, { addSpecialTokens: false }).slice(0, tokenCount);
  const engine = await packages.createEngine(
    {
      bundle,
      openReader: (paths) => packages.openFlashReader(paths, {}),
      createPlanner: packages.createReadPlanner,
      createKernels: (options) => packages.loadKernels({ target: "auto", ...options }),
      kernelOverheadBytes: packages.kernelOverheadBytes,
      cache: packages.parseCache("auto").part,
      predictor: countingPart(bundle, signs, agreeing),
      createSampler: packages.createSampler,
    },
    { memoryBytes: Number.POSITIVE_INFINITY, contextLength: tokens.length, threadCount: 2, onActivations },
  );
  try {
    const options = { maxTokens: 0, stopTokens: [], sampling: GREEDY };
    for await (const event of engine.generate(tokens, options)) throw new Error(`generated ${event.tokenId}`);
  } finally {
    await engine.close();
  }
  return counts;
}
