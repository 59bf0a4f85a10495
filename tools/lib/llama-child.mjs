// One measurement of llama.cpp in a process of its own: node llama-child.mjs ENTRY REQUEST.
import { pathToFileURL } from "node:url";

const [entry, text] = process.argv.slice(2);
const { modelPath, promptTokens, decodeTokens, threads, mmap = true } = JSON.parse(text);
const { getLlama } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", progressLogs: false });
const model = await llama.loadModel({ modelPath, useMmap: mmap });
const context = await model.createContext({
  contextSize: promptTokens + decodeTokens + 8,
  batchSize: 512,
  threads: { ideal: threads, min: threads },
});
const sequence = context.getSequence();
const vocabularySize = model.fileInfo.metadata.tokenizer?.ggml?.tokens?.length ?? 1000;
const prompt = Array.from(
  { length: promptTokens },
  (_, index) => 100 + ((index * 37) % (vocabularySize - 200)),
);

let start = performance.now();
await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(0, -1));
const promptMs = performance.now() - start;
const arrivals = [];
for await (const _ of sequence.evaluate(prompt.slice(-1), { temperature: 0 })) {
  arrivals.push(performance.now());
  if (arrivals.length > decodeTokens) break;
}
start = arrivals[0];
process.stdout.write(
  `${JSON.stringify({
    promptTokensPerSecond: ((promptTokens - 1) * 1000) / promptMs,
    tokensPerSecond: ((arrivals.length - 1) * 1000) / (arrivals.at(-1) - start),
    decodeTokens: arrivals.length - 1,
  })}\n`,
);
process.exit(0);
