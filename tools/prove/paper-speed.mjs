import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixture, flashlmCommand, flashlmJson, flashlmOutput, MODELS, PROOF_ENV } from "../lib/flashlm.mjs";
import { llamaSpeed } from "../lib/llama-cpp.mjs";
import { createMemoryCgroup } from "../lib/memory-cgroup.mjs";
import { memoryReadSpeed } from "../lib/memory-speed.mjs";
import { run } from "../lib/shell.mjs";

const THREADS = 2;
const CONTEXT = 512;
const ROUNDS = 3;
const PROMPT_TOKENS = 256;
const DECODE_TOKENS = 96;
const SPARSITY = "lowrank:0.02";
/** What is asked for: times naive loading, times llama.cpp, share of a token spent waiting, times the floor. */
const ASKED = { naive: 12, llama: 20, ioWait: 0.25, floor: 1.4 };
/** FLASHLM_PROVE_PRESET takes a smaller shape while developing; FLASHLM_PROVE_FOLDER keeps the large files between calls. */
const PRESET = process.env.FLASHLM_PROVE_PRESET ?? "opt-6.7b";

const sorted = (values) => [...values].sort((a, b) => a - b);
const median = (values) => sorted(values)[values.length >> 1];
const spread = (values, digits = 1) =>
  `${median(values).toFixed(digits)} (${sorted(values)[0].toFixed(digits)} to ${sorted(values).at(-1).toFixed(digits)})`;

/** A synthetic model as a bundle with trained heads, and tokens of its text. What is there already is used again. */
async function prepareModel(folder, preset, trainTokens) {
  const source = join(folder, preset);
  const bundle = join(folder, `${preset}-bundle`);
  const tokens = join(source, "tokens.json");
  if (!existsSync(tokens))
    await flashlmOutput(["synth", "--preset", preset, "--no-measure", "--out", source]);
  if (!existsSync(join(bundle, "bundle.json"))) await flashlmOutput(["bundle", source, "--out", bundle]);
  // The checkpoint itself is not needed again; its text is.
  for (const name of readdirSync(source)) if (name.endsWith(".safetensors")) rmSync(join(source, name));
  const { weightBytes } = await flashlmJson(["inspect", bundle]);
  const text = JSON.parse(readFileSync(tokens, "utf8")).tokens;
  if (!hasHeads(bundle)) {
    // The second half is for measuring.
    const training = join(source, "training.json");
    writeFileSync(training, JSON.stringify(text.slice(0, text.length / 2)));
    await flashlmOutput([
      ...["train-predictor", bundle, "--tokens", training, "--limit", String(trainTokens)],
      ...["--window", "256", "--epochs", "0", "--json"],
    ]);
  }
  return { bundle, tokens: text, weightBytes };
}

function lastObject(output) {
  return output.split("\n").findLast((line) => line.startsWith("{"));
}

function hasHeads(bundle) {
  return (JSON.parse(readFileSync(join(bundle, "bundle.json"), "utf8")).heads?.lowrank?.length ?? 0) > 0;
}

/** Decodes the text that the model's statistics are for: what such a model chooses by itself runs into loops. */
function runArgs({ bundle, tokens }, memory, flags) {
  const held = tokens.slice(tokens.length / 2);
  const prompt = held.slice(0, PROMPT_TOKENS);
  const follow = held.slice(PROMPT_TOKENS, PROMPT_TOKENS + DECODE_TOKENS);
  return [
    ...["run", bundle, "--raw", "--prompt-tokens", prompt.join(","), "--ignore-eos", "--temperature", "0"],
    ...["--follow", follow.join(",")],
    ...["--context", String(CONTEXT), "--threads", String(THREADS), "--memory", memory, ...flags],
  ];
}

/** One run of ours inside a cgroup of exactly what it plans. */
async function limitedRun(model, memory, flags, limitBytes) {
  const [program, args] = flashlmCommand([...runArgs(model, memory, flags), "--json"]);
  const { group, reason } = createMemoryCgroup(limitBytes);
  if (!group) throw new Error(`no cgroup could be made: ${reason}`);
  try {
    const { code, output } = await run(...group.command(program, args), { env: PROOF_ENV });
    const line = lastObject(output);
    if (code !== 0 || line === undefined || group.killCount() > 0)
      throw new Error(`flashlm run ended with ${code} in ${limitBytes} bytes:\n${output.slice(-1500)}`);
    return { ...JSON.parse(line), peakBytes: group.peakBytes() };
  } finally {
    group.remove();
  }
}

/** llama.cpp with mmap in the same limit: a prompt of two tokens, because every pass reads the whole file. */
async function limitedRival(modelPath, limitBytes) {
  const { group, reason } = createMemoryCgroup(limitBytes);
  if (!group) throw new Error(`no cgroup could be made: ${reason}`);
  try {
    const request = { modelPath, promptTokens: 2, decodeTokens: 2, threads: THREADS };
    return await llamaSpeed(request, (program, args) => group.command(program, args));
  } finally {
    group.remove();
  }
}

/** Milliseconds that nothing can be faster than: what is used read from memory, or what is missed read from the disk. */
function floorMs({ report }, model, speeds) {
  const neuronBytes = neuronBytesOf(model.bundle);
  const usedBytes = model.weightBytes - neuronBytes + report.keptShare * neuronBytes;
  const memoryMs = (1000 * usedBytes) / speeds.memory;
  const diskMs = (1000 * report.readBytesPerToken) / speeds.disk;
  return { floor: Math.max(memoryMs, diskMs), memoryMs, diskMs };
}

/** Bytes of a bundle's neuron records. */
function neuronBytesOf(bundle) {
  const { layers, record } = JSON.parse(readFileSync(join(bundle, "bundle.json"), "utf8"));
  return layers.reduce((sum, layer) => sum + layer.neuronCount * record.strideBytes, 0);
}

async function rivalModel(folder) {
  const out = join(folder, "llama-2-7b-gguf");
  if (!existsSync(out))
    await flashlmOutput([
      "synth",
      "--preset",
      "llama-2-7b",
      "--format",
      "gguf",
      "--no-measure",
      "--out",
      out,
    ]);
  return join(
    out,
    readdirSync(out).find((name) => name.endsWith(".gguf")),
  );
}

function line(name, results) {
  const ms = results.map(({ report }) => report.msPerToken);
  const { report, mode } = results[0];
  return `${name}: ${spread(ms)} ms per token (I/O wait ${report.ioWaitMsPerToken.toFixed(1)}, cache ${report.cacheMsPerToken.toFixed(1)}, compute ${report.computeMsPerToken.toFixed(1)}), kept ${(100 * report.keptShare).toFixed(1)} %, hits ${(100 * report.hitRate).toFixed(1)} %, ${(report.readBytesPerToken / 1e6).toFixed(1)} MB read, look-ahead ${mode["look-ahead"] ?? "none"}`;
}

async function twelveTimesNaive() {
  const parent = process.env.FLASHLM_PROVE_FOLDER ?? join(tmpdir(), "flashlm-speed");
  mkdirSync(parent, { recursive: true });
  try {
    const model = await prepareModel(parent, PRESET, 1024);
    const rival = await rivalModel(parent);
    return await contest(parent, model, rival);
  } finally {
    if (!process.env.FLASHLM_PROVE_FOLDER) rmSync(parent, { recursive: true, force: true });
  }
}

async function contest(folder, model, rival) {
  const disk = (await flashlmJson(["device", folder])).sequential.bytesPerSecond;
  const memory = await memoryReadSpeed(THREADS);
  const decode = ["--sparsity", SPARSITY, "--max-tokens", String(DECODE_TOKENS)];
  const whole = await flashlmJson(runArgs(model, "max", ["--sparsity", "dense", "--max-tokens", "9"]));
  if (whole.report.readBytesPerToken > 0) throw new Error("the dense run was not resident");
  const naiveMs = (1000 * model.weightBytes) / disk + whole.report.computeMsPerToken;
  const short = ["--sparsity", SPARSITY, "--max-tokens", "2"];
  const { plannedBytes } = (await flashlmJson(runArgs(model, "50%", short))).report;
  const ours = [];
  const theirs = [];
  for (let round = 0; round < ROUNDS; round++) {
    theirs.push(1000 / (await limitedRival(rival, plannedBytes)).tokensPerSecond);
    ours.push(await limitedRun(model, "50%", decode, plannedBytes));
  }
  const without = await limitedRun(model, "50%", [...decode, "--look-ahead", "off"], plannedBytes);
  const oursMs = median(ours.map(({ report }) => report.msPerToken));
  const { floor, memoryMs, diskMs } = floorMs(ours[0], model, { memory, disk });
  const ioShare = median(ours.map(({ report }) => report.ioWaitMsPerToken / report.msPerToken));
  const figures = {
    naive: naiveMs / oursMs,
    llama: median(theirs) / oursMs,
    ioWait: ioShare,
    floor: oursMs / floor,
  };
  const ok =
    PRESET === "opt-6.7b" &&
    figures.naive >= ASKED.naive &&
    figures.llama >= ASKED.llama &&
    figures.ioWait < ASKED.ioWait &&
    figures.floor <= ASKED.floor;
  const lines = [
    `${PRESET} in f16, synthetic, limit ${(plannedBytes / 2 ** 30).toFixed(2)} GiB of ${(model.weightBytes / 2 ** 30).toFixed(2)} GiB of weights; disk ${(disk / 1e9).toFixed(2)} GB/s, memory ${(memory / 1e9).toFixed(1)} GB/s`,
    `naive loading ${naiveMs.toFixed(0)} ms (compute ${whole.report.computeMsPerToken.toFixed(0)}): ${figures.naive.toFixed(1)} times (at least ${ASKED.naive})`,
    `llama.cpp with mmap in the same limit ${spread(theirs, 0)} ms: ${figures.llama.toFixed(1)} times (at least ${ASKED.llama})`,
    `I/O wait ${(100 * figures.ioWait).toFixed(0)} % (under ${100 * ASKED.ioWait}); ${figures.floor.toFixed(2)} times the floor of ${floor.toFixed(1)} ms (memory ${memoryMs.toFixed(1)}, disk ${diskMs.toFixed(1)}; at most ${ASKED.floor})`,
    line("ours", ours),
    line("look-ahead off", [without]),
    ...(await student()),
  ];
  return { ok, figure: lines.join("\n    ") };
}

/** The real ReLU network, sparse beside dense. */
async function student() {
  if (!existsSync(MODELS.student)) return ["the ReLU student is not beside the project"];
  const lines = [];
  const { promptTokens } = JSON.parse(readFileSync(fixture("smollm2-relu/greedy.json"), "utf8")).runs[0];
  for (const memory of ["35%", "50%", "75%"]) {
    const figures = [];
    for (const sparsity of ["oracle", "dense"]) {
      const { report } = await flashlmJson([
        ...["run", MODELS.student, "--raw", "--prompt-tokens", promptTokens.join(","), "--ignore-eos"],
        ...["--temperature", "0", "--max-tokens", "128", "--memory", memory, "--sparsity", sparsity],
      ]);
      figures.push(`${sparsity} ${report.tokensPerSecond.toFixed(1)} tokens/s`);
    }
    lines.push(`student at ${memory}: ${figures.join(", ")}`);
  }
  return lines;
}

/** Points of speed at the paper's shapes. */
export const points = [
  {
    name: "paper.3",
    title: "OPT-6.7B's shape in half its memory: beside naive loading, llama.cpp with mmap and the floor",
    heavy: true,
    run: twelveTimesNaive,
  },
];
