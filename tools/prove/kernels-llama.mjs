import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { flashlmJson, flashlmOutput, MODELS } from "../lib/flashlm.mjs";
import { requantiseGguf } from "../lib/gguf-requantise.mjs";
import { llamaSpeed } from "../lib/llama-cpp.mjs";
import { ROOT } from "../lib/workspace.mjs";

const THREADS = 2;
const PROMPT_TOKENS = 512;
const ROUNDS = 5;
/** Share of llama.cpp's speed that is asked for. */
const DECODE_LEAST = 1;
const PROMPT_LEAST = 0.7;
/** Input embeddings that are not the head's are read by row: one f16 row of a 7B model and its rounding to pages. */
const EMBEDDING_READ_BYTES_MAX = 16384;

const sorted = (values) => [...values].sort((a, b) => a - b);
const median = (values) => sorted(values)[values.length >> 1];

/** A round of ours on everything resident; the prompt is as long as the rival's. */
async function ourSpeed({ path, decodeTokens, dots }) {
  const tokens = Array.from({ length: PROMPT_TOKENS }, (_, index) => 100 + ((index * 37) % 30_000));
  const { report, mode } = await flashlmJson([
    ...["run", path, "--raw", "--prompt-tokens", tokens.join(","), "--ignore-eos", "--temperature", "0"],
    ...["--max-tokens", String(decodeTokens + 1), "--context", String(PROMPT_TOKENS + decodeTokens + 8)],
    ...["--memory", "max", "--threads", String(THREADS), "--dots", dots, "--kernels", "native"],
    ...["--verify", "never", "--prompt-chunk", "256"],
  ]);
  if (report.readBytesPerToken > EMBEDDING_READ_BYTES_MAX)
    throw new Error(`not everything was resident: ${report.readBytesPerToken} bytes were read per token`);
  return {
    tokensPerSecond: report.tokensPerSecond,
    promptTokensPerSecond: report.promptTokensPerSecond,
    kernels: mode.kernels,
  };
}

/** Rounds in turn; ratios of medians, with the least and the largest figure of each. */
async function contest({ name, gguf, bundle, decodeTokens, dots, rounds }) {
  const ours = [];
  const theirs = [];
  for (let round = 0; round < rounds; round++) {
    theirs.push(
      await llamaSpeed({ modelPath: gguf, promptTokens: PROMPT_TOKENS, decodeTokens, threads: THREADS }),
    );
    ours.push(await ourSpeed({ path: bundle, decodeTokens, dots }));
  }
  const part = (key, least) => {
    const [a, b] = [ours, theirs].map((results) => results.map((result) => result[key]));
    const ratio = median(a) / median(b);
    const spread = (values) =>
      `${median(values).toFixed(1)} (${sorted(values)[0].toFixed(1)} to ${sorted(values).at(-1).toFixed(1)})`;
    return {
      ok: ratio >= least,
      text: `${spread(a)} against ${spread(b)} tokens/s, ${ratio.toFixed(2)} (at least ${least})`,
    };
  };
  const decode = part("tokensPerSecond", DECODE_LEAST);
  const prompt = part("promptTokensPerSecond", PROMPT_LEAST);
  return {
    ok: decode.ok && prompt.ok,
    line: `${name} with ${ours[0].kernels}: decode ${decode.text}; prompt ${prompt.text}`,
  };
}

async function smallModel(folder) {
  const load = (path) => import(pathToFileURL(join(ROOT, path)).href);
  const [{ decodeRow, encodeRow }, { rowBytes }] = await Promise.all([
    load("packages/bundler/dist/index.js"),
    load("packages/contracts/dist/index.js"),
  ]);
  const gguf = join(folder, "smollm2-q8_0.gguf");
  requantiseGguf(MODELS.smollm2, gguf, { decodeRow, encodeRow, rowBytes });
  const bundle = join(folder, "smollm2-q8_0");
  await flashlmOutput(["bundle", gguf, "--out", bundle]);
  return contest({
    ...{ name: "SmolLM2 in q8_0", gguf, bundle },
    ...{ decodeTokens: 128, dots: "q8", rounds: ROUNDS },
  });
}

async function largeModel(folder) {
  const out = join(folder, "llama-2-7b");
  await flashlmOutput(["synth", "--preset", "llama-2-7b", "--format", "gguf", "--no-measure", "--out", out]);
  const gguf = findGguf(out);
  const bundle = join(folder, "llama-2-7b-bundle");
  await flashlmOutput(["bundle", gguf, "--out", bundle]);
  return contest({
    ...{ name: "the 7B shape in f16", gguf, bundle },
    ...{ decodeTokens: 16, dots: "f32", rounds: 3 },
  });
}

function findGguf(path) {
  if (statSync(path).isFile()) return path;
  return join(
    path,
    readdirSync(path).find((name) => name.endsWith(".gguf")),
  );
}

/** FLASHLM_PROVE_FOLDER names a folder for large files, with room for twice a 7B model in f16. */
async function fasterThanLlama() {
  const parent = process.env.FLASHLM_PROVE_FOLDER ?? tmpdir();
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, "flashlm-llama-"));
  try {
    const small = await smallModel(folder);
    const large = await largeModel(folder);
    return { ok: small.ok && large.ok, figure: [small.line, large.line].join("\n    ") };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Add a point by adding a row. */
export const points = [
  {
    name: "kernels.5",
    title:
      "resident decoding is as fast as llama.cpp's, the prompt at least 70 % as fast: SmolLM2 in q8_0, a 7B shape in f16",
    heavy: true,
    run: fasterThanLlama,
  },
];
