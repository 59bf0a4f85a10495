import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { flashlmCommand, PROOF_ENV } from "./flashlm.mjs";
import { run } from "./shell.mjs";
import { manifestOf } from "./synthetic-model.mjs";

const PAGE_BYTES = 4096;
/** Reads of a few records at a time, and pages around each. */
const READ_BUFFER_COUNT = 5;
const READ_BUFFER_BYTES = 64 * 1024;
/** Rows of embeddings and positions that pass through, for as many tokens as go through the layers together. */
const STAGED_ROWS = 2 * 8 + 2;
/** What the plan prints beside weights and keys and values. */
const PRINTED_OVERHEAD = ["scratch", "predictor scratch", "kernels", "checksums and order"];

const padded = (bytes) => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** The smallest budget of weights and caches that a run takes: what its refusal of a smaller one asks for. `argsWith` makes the run of a `--memory`. */
export async function leastBytes(argsWith) {
  const [program, args] = flashlmCommand([...argsWith("0.001%"), "--json"]);
  const { code, output } = await run(program, args, { env: PROOF_ENV });
  const asked = /at least (\d+)/.exec(output);
  if (code === 0 || asked === null) throw new Error(`0.001 % was not refused:\n${output.slice(-500)}`);
  return Number(asked[1]);
}

/** `--memory` for bytes beside those of the process itself: a share of the weights, which becomes those bytes again. */
export function shareOf(bytes, weightBytes) {
  return `${((100 * (bytes + 0.5)) / weightBytes).toFixed(12)}%`;
}

/** Name and bytes of each tensor of a safetensors file, from its header. */
function tensorsOf(path) {
  const file = openSync(path, "r");
  try {
    const length = new Uint8Array(8);
    readSync(file, length, 0, 8, 0);
    const header = Buffer.alloc(Number(new DataView(length.buffer).getBigUint64(0, true)));
    readSync(file, header, 0, header.length, 8);
    const entries = Object.entries(JSON.parse(header.toString()));
    return entries
      .filter(([name]) => name !== "__metadata__")
      .map(
        ([
          name,
          {
            data_offsets: [from, to],
          },
        ]) => ({ name, bytes: to - from }),
      );
  } finally {
    closeSync(file);
  }
}

/** Bytes of the largest layer: attention and norms, its neuron records, and its low-rank head where `sparsity` uses one. */
function largestLayerBytes(bundle, { layers, record }, sparsity) {
  const heads = sparsity.startsWith("lowrank");
  const tensors = readdirSync(bundle)
    .filter((name) => name.endsWith(".safetensors") && !/^(neurons|checksums)\./.test(name))
    .flatMap((name) => tensorsOf(join(bundle, name)));
  const sizes = layers.map(({ neuronCount }, layer) => {
    const own = tensors.filter(({ name }) => name.startsWith(`layers.${layer}.`));
    const used = own.filter(({ name }) =>
      name.includes(".lowrank.") ? heads : !/\.(shadow|exact|lookahead)\./.test(name),
    );
    return neuronCount * record.strideBytes + sum(used.map(({ bytes }) => bytes + PAGE_BYTES));
  });
  return Math.max(...sizes);
}

/**
 * Bytes that are enough, computed from the bundle's files and not by the planner: the largest layer whole, keys and values of `context` tokens, buffers for a
 * few records, and the overhead as a run prints it (`rows` of its report). A budget that holds them may not be refused.
 */
export function enoughBytes(bundle, sparsity, context, rows) {
  const manifest = manifestOf(bundle);
  const { attention, hiddenSize } = manifest.model;
  const elementBytes = manifest.dtype === "f32" ? 4 : 2;
  const perToken = 2 * attention.keyValueHeadCount * attention.headDim * elementBytes;
  const keyValue = manifest.layers.length * (padded(context * perToken) + PAGE_BYTES);
  const reads =
    READ_BUFFER_COUNT * (Math.max(READ_BUFFER_BYTES, manifest.record.strideBytes) + 5 * PAGE_BYTES);
  const staged = STAGED_ROWS * (padded(4 * hiddenSize) + PAGE_BYTES);
  const overhead = sum(
    rows.filter(({ owner }) => PRINTED_OVERHEAD.includes(owner)).map((row) => row.plannedBytes),
  );
  return padded(largestLayerBytes(bundle, manifest, sparsity)) + keyValue + reads + staged + overhead;
}
