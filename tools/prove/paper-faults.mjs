import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { countTests } from "../lib/counts.mjs";
import { flashlmJson, flashlmOutput, hasShared, MODELS, readFixture } from "../lib/flashlm.mjs";
import { prepareModel } from "../lib/synthetic-model.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";
import { ROOT } from "../lib/workspace.mjs";

const ABORT_LIMIT_MS = 50;
const ABORTS = 24;
const POLL_MS = 2;
/** How long nothing may be read after an answer. */
const SETTLE_MS = 60;
const STEPS = Number(process.env.FLASHLM_PROVE_TOKENS ?? 128);
/** Of the student's weights: every token reads. */
const SHARE = 0.5;
const FLAGS = {
  kernels: "auto",
  reader: "auto",
  kvCache: "auto",
  dots: "f32",
  cache: "auto",
  verify: "first",
  lookAhead: "auto",
};
const CONTEXT = 1024;
const DRAFT_TOKENS = 4;
/** A synthetic model with trained heads, so that reads of the next layer are under way when it is aborted. */
const HEADS = { preset: "opt-125m", sparsity: "lowrank:0.02", trainTokens: 1024, promptTokens: 128 };
/** Faults are injected in front of each. */
const BACKENDS = ["node", "pread", ...(process.platform === "linux" ? ["io_uring"] : [])];
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

/** An engine on a thread of its own, as the program makes it. */
async function startEngine(bundlePath, sparsity, memoryBytes, { lookAhead = "auto", draftSparsity } = {}) {
  const runtime = await import(pathToFileURL(join(ROOT, "packages/runtime/dist/index.js")).href);
  const stop = new SharedArrayBuffer(4);
  const setupOf = (own) => {
    const flags = { ...FLAGS, ...own };
    return { flags, bundlePath, memoryBytes, contextNeeded: CONTEXT, threadCount: 2, stop };
  };
  const draft = draftSparsity && {
    setup: setupOf({ sparsity: draftSparsity, context: CONTEXT }),
    tokens: DRAFT_TOKENS,
  };
  const workerData = { ...setupOf({ sparsity, lookAhead }), ...(draft ? { draft } : {}) };
  const worker = new Worker(join(ROOT, "apps/cli/dist/engine-worker.js"), { workerData });
  return runtime.connectGenerator(worker, stop);
}

async function greedy(engine, prompt, signal, onToken = () => {}) {
  const tokens = [];
  const options = { maxTokens: STEPS, sampling: GREEDY, stopTokens: [], ...(signal ? { signal } : {}) };
  for await (const { tokenId } of engine.generate(prompt, options)) {
    tokens.push(tokenId);
    onToken(tokens.length);
  }
  return tokens;
}

/** Bytes that this process has had read from storage; 0 where the system does not say. */
function systemReadBytes() {
  if (!existsSync("/proc/self/io")) return 0;
  return Number(/^read_bytes: (\d+)/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1] ?? 0);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds from now to the last byte that storage was asked for, until a while after `answeredAt()`, which is 0 before. */
async function watchReads(answeredAt) {
  const start = performance.now();
  let before = systemReadBytes();
  let lastMs = 0;
  while (answeredAt() === 0 || performance.now() - answeredAt() < SETTLE_MS) {
    await pause(POLL_MS);
    const bytes = systemReadBytes();
    if (bytes !== before) lastMs = performance.now() - start;
    before = bytes;
  }
  return lastMs;
}

/** Aborts at many moments, in prompts and between tokens: reads stop, and the engine answers; after that nothing may be read any more. */
async function abortsAreQuick(engine, prompt, expected) {
  const latencies = [];
  const lastReads = [];
  let lateBytes = 0;
  let typed = 0;
  for (let attempt = 0; attempt < ABORTS; attempt++) {
    const controller = new AbortController();
    const reason = new Error("enough");
    let answeredAt = 0;
    let bytesAtAnswer = 0;
    const outcome = greedy(engine, prompt, controller.signal)
      .catch((error) => error)
      .finally(() => {
        answeredAt = performance.now();
        bytesAtAnswer = systemReadBytes();
      });
    await pause(5 + attempt * 37);
    const abortedAt = performance.now();
    controller.abort(reason);
    lastReads.push(await watchReads(() => answeredAt));
    lateBytes += systemReadBytes() - bytesAtAnswer;
    if ((await outcome) === reason) typed++;
    latencies.push(answeredAt - abortedAt);
  }
  const again = await greedy(engine, prompt);
  const slowest = Math.max(...latencies);
  const same = again.every((token, at) => token === expected[at]);
  const lastRead = Math.max(...lastReads);
  const ok = typed === ABORTS && Math.max(slowest, lastRead) <= ABORT_LIMIT_MS && lateBytes === 0 && same;
  const median = [...latencies].sort((a, b) => a - b)[Math.floor(ABORTS / 2)];
  return {
    ok,
    figure: `${typed}/${ABORTS} aborts answered, median ${median.toFixed(1)} ms, slowest ${slowest.toFixed(1)} ms; last read after ${lastRead.toFixed(1)} ms (both at most ${ABORT_LIMIT_MS}), ${lateBytes} bytes read after the answer; tokens afterwards ${same ? "right" : "WRONG"}`,
  };
}

/** Two engines at once, each on its thread: the tokens that each gives alone. */
async function enginesKeepApart(bundle, limitBytes, prompt, sparsities) {
  const engines = await Promise.all(sparsities.map((sparsity) => startEngine(bundle, sparsity, limitBytes)));
  try {
    const alone = [];
    for (const engine of engines) alone.push(await greedy(engine, prompt));
    const together = await Promise.all(engines.map((engine) => greedy(engine, prompt)));
    const same = together.filter((tokens, at) => tokens.join() === alone[at].join()).length;
    return {
      ok: same === engines.length && alone.every(({ length }) => length === STEPS),
      figure: `two engines at once (${sparsities.join(" and ")}): ${same}/${engines.length} give the ${STEPS} tokens that they give alone`,
    };
  } finally {
    for (const engine of engines) await engine.close();
  }
}

/** Faults in front of every backend: what is injected is the same, what is read, aligned and merged is not. */
async function readFaults() {
  const lines = [];
  let ok = true;
  for (const backend of BACKENDS) {
    const files = ["packages/runtime/test/fault"];
    const { report, code } = await vitestReport(files, { FLASHLM_FAULT_BACKEND: backend });
    const { passed, failed, skipped } = countTests(report, code);
    ok &&= failed === 0 && skipped === 0 && passed > 20;
    lines.push(`${backend} ${passed} passed, ${failed} failed, ${skipped} skipped`);
  }
  return {
    ok,
    figure: `read errors, short reads and delays in mid-generation, dense, sparse, streamed, look-ahead and drafts: ${lines.join("; ")}`,
  };
}

/** Aborts of an engine that is started for them. */
async function abortsOf(name, prompt, start) {
  const engine = await start();
  try {
    const result = await abortsAreQuick(engine, prompt, await greedy(engine, prompt));
    return { ...result, figure: `${name}: ${result.figure}` };
  } finally {
    await engine.close();
  }
}

/** Half of a bundle's weights. */
async function limitOf(bundle) {
  return Math.floor(SHARE * (await flashlmJson(["inspect", bundle])).weightBytes);
}

/** Aborts while the next layer's reads are under way, with and without a draft. */
async function lookAheadAborts(folder) {
  const { preset, sparsity, trainTokens, promptTokens } = HEADS;
  const { bundle, tokens } = await prepareModel(folder, preset, trainTokens);
  const prompt = tokens.slice(tokens.length / 2, tokens.length / 2 + promptTokens);
  const limitBytes = await limitOf(bundle);
  const start = (options) => () => startEngine(bundle, sparsity, limitBytes, { lookAhead: "on", ...options });
  return [
    await abortsOf(`${preset} with look-ahead`, prompt, start({})),
    await abortsOf(`${preset} with look-ahead and a draft`, prompt, start({ draftSparsity: sparsity })),
  ];
}

/** The real ReLU network, which reads for every token. */
async function studentAborts(folder) {
  const bundle = join(folder, "student");
  await flashlmOutput(["bundle", MODELS.student, "--out", bundle, "--dtype", "q8_0"]);
  const { runs } = readFixture("smollm2-relu/greedy.json");
  const prompt = [...runs[0].promptTokens, ...runs[0].greedy.slice(0, 64)];
  const limitBytes = await limitOf(bundle);
  const results = [];
  for (const sparsity of ["dense", "oracle"])
    results.push(await abortsOf(sparsity, prompt, () => startEngine(bundle, sparsity, limitBytes)));
  const draft = { draftSparsity: "gate-shadow:0.1" };
  const start = () => startEngine(bundle, "oracle", limitBytes, draft);
  results.push(await abortsOf("oracle with a draft", prompt, start));
  results.push(await enginesKeepApart(bundle, limitBytes, prompt, ["dense", "oracle"]));
  return results;
}

async function nothingGoesWrongQuietly() {
  if (!hasShared || !existsSync(MODELS.student))
    return { ok: false, figure: "the ReLU student is not beside the project (../shared/models)" };
  const folder = mkdtempSync(join(tmpdir(), "flashlm-faults-"));
  try {
    const results = [
      await readFaults(),
      ...(await studentAborts(folder)),
      ...(await lookAheadAborts(folder)),
    ];
    return {
      ok: results.every(({ ok }) => ok),
      figure: results.map(({ figure }) => figure).join("\n    "),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** That trouble is never silent. */
export const points = [
  {
    name: "paper.6",
    title: "read faults end in typed errors or right tokens, aborts stop reads at once, engines keep apart",
    heavy: true,
    run: nothingGoesWrongQuietly,
  },
];
