// What choosing slots costs per token, at the shape of a 7B model: 32 layers of 11008 neurons, 10 % named per token.
// Moving records is real copying here (RECORD_BYTES each), so that the compact cache pays what it pays in the engine.
// Usage: node bench/acquire.mjs [--smoke]   (after `tsup`)
import { parseCache } from "../dist/index.js";

const smoke = process.argv.includes("--smoke");
const LAYER_COUNT = smoke ? 2 : 32;
const UNIT_COUNT = 11_008;
const SLOT_COUNT = 4096;
const NAMED_COUNT = 1100;
const WINDOW_TOKENS = 5;
/** Share of a token's neurons that the token before named too; the window then holds about a quarter of all neurons. */
const KEPT_SHARE = 0.7;
const TOKEN_COUNT = smoke ? 8 : 60;
const WARMUP_TOKENS = smoke ? 2 : 20;
/** gate, up and down of 4096 weights in q4_0, q4_0 and q8_0, rounded up. */
const RECORD_BYTES = 9216;

function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

/** Ids of each token of one layer, ascending. */
function makeSets(seed) {
  const next = random(seed);
  let current = new Set();
  return Array.from({ length: TOKEN_COUNT }, () => {
    const named = new Set([...current].filter(() => next() < KEPT_SHARE));
    while (named.size < NAMED_COUNT) named.add(Math.floor(next() * UNIT_COUNT));
    current = named;
    return Uint32Array.from(named).sort();
  });
}

function measure(part, setsByLayer, copies) {
  // One layer's memory serves all layers: only the copying costs matter.
  const memory = new Uint8Array(SLOT_COUNT * RECORD_BYTES);
  const cache = part.create({
    unit: "neuron",
    layers: setsByLayer.map(() => ({ unitCount: UNIT_COUNT, slotCount: SLOT_COUNT, pinnedCount: 0 })),
    windowTokens: WINDOW_TOKENS,
    moveRecord: (_layerIndex, from, to) => {
      if (copies) memory.copyWithin(to * RECORD_BYTES, from * RECORD_BYTES, (from + 1) * RECORD_BYTES);
    },
  });
  const times = [];
  for (let token = 0; token < TOKEN_COUNT; token++) {
    const start = performance.now();
    for (let layerIndex = 0; layerIndex < setsByLayer.length; layerIndex++) {
      const ids = setsByLayer[layerIndex][token];
      cache.acquire(layerIndex, ids, ids.length, "window").release();
    }
    cache.advanceToken();
    if (token >= WARMUP_TOKENS) times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return { medianMs: times[Math.floor(times.length / 2)], stats: cache.stats() };
}

const setsByLayer = Array.from({ length: LAYER_COUNT }, (_, layerIndex) => makeSets(layerIndex + 1));
for (const [name, copies] of [
  ["compact", true],
  ["compact", false],
  ["window", false],
  ["lru", false],
  ["lfu", false],
]) {
  const { part } = parseCache(name);
  const { medianMs, stats } = measure(part, setsByLayer, copies);
  const hitShare = stats.hitCount / (stats.hitCount + stats.missCount);
  const label = name === "compact" ? `${name} (${copies ? "records copied" : "bookkeeping only"})` : name;
  console.log(
    `${label}: ${medianMs.toFixed(2)} ms/token for ${LAYER_COUNT} layers, ` +
      `hits ${(hitShare * 100).toFixed(1)} %, moves ${(stats.moveCount / TOKEN_COUNT / LAYER_COUNT).toFixed(1)} and ` +
      `evictions ${(stats.evictCount / TOKEN_COUNT / LAYER_COUNT).toFixed(1)} per layer and token`,
  );
}
