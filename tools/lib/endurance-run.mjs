// Generates many tokens in one go and prints, as one JSON object, what each tenth of them took and the memory of the process.
// Run with --expose-gc: node --expose-gc endurance-run.mjs BUNDLE TOKENS SPARSITY SLOT_SHARE
import { engineParts, loadPackages } from "./built-packages.mjs";

const [bundlePath, tokenText, sparsity, slotShareText] = process.argv.slice(2);
const tokenCount = Number(tokenText);
const PROMPT = [1, 5, 9, 14];
/** Drawn, not greedy: greedy tokens of small models go in circles. */
const SAMPLING = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 11 };
const TENTHS = 10;

/** A limit that leaves a share of the neuron slots. */
function limitFor(packages, parts, options, slotShare) {
  const whole = packages.planEngine(parts, { ...options, memoryBytes: Number.POSITIVE_INFINITY });
  const slots = whole.rows.find(({ owner }) => owner === "neuron slots").plannedBytes;
  return whole.totalBytes - Math.floor((1 - slotShare) * slots);
}

const packages = await loadPackages();
const bundle = await packages.openBundle(bundlePath);
const parts = await engineParts(packages, bundle, sparsity);
const options = { contextLength: PROMPT.length + tokenCount, threadCount: 1 };
const memoryBytes = limitFor(packages, parts, options, Number(slotShareText));
const engine = await packages.createEngine(parts, { ...options, memoryBytes });
// A text of the same length touches every page of the caches, which are planned for: what memory grows by afterwards is growth.
const { vocabularySize } = bundle.manifest.model;
const text = Array.from({ length: options.contextLength }, (_, at) => (at * 31) % vocabularySize);
await engine.evaluate(text, () => {});
const tenthMs = [];
const tenthBytes = [];
const distinct = new Set();
let count = 0;
let began = 0;
for await (const event of engine.generate(PROMPT, {
  maxTokens: tokenCount,
  sampling: SAMPLING,
  stopTokens: [],
})) {
  distinct.add(event.tokenId);
  count++;
  if (count % (tokenCount / TENTHS) !== 0) continue;
  tenthMs.push(event.elapsedMs - began);
  began = event.elapsedMs;
  globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  tenthBytes.push({ resident: rss, held: heapUsed + external });
}
const report = engine.report();
await engine.close();
process.stdout.write(
  `${JSON.stringify({ count, distinctTokens: distinct.size, tenthMs, tenthBytes, decodeReadBytes: report.decodeReadBytes })}\n`,
);
