import type { NeuronCache } from "@flashlm/contracts";
import type { Script } from "./scripted-predictor.js";
import type { LayerTime, Stage } from "./stage.js";

/** How many neurons a token names in each layer, and how many of them are not in slots. */
export interface Scene {
  readonly hitCount: number;
  readonly missCount: number;
}

/** Tokens before those that count: code is compiled meanwhile, and slots fill. */
const WARM_TOKENS = 3;
const TOKENS_MIN = 7;
const TOKENS_MAX = 48;
const PLAY_MS = 200;

/** Runs tokens of one kind for a moment; means of each part of a layer's time. `prepare` writes the next token. */
export async function play(stage: Stage, prepare: () => void): Promise<LayerTime> {
  const times: LayerTime[] = [];
  const begin = performance.now();
  for (let token = 0; token < WARM_TOKENS + TOKENS_MAX; token++) {
    if (token >= WARM_TOKENS + TOKENS_MIN && performance.now() - begin > PLAY_MS) break;
    prepare();
    const time = await stage.token();
    if (token >= WARM_TOKENS) times.push(time);
  }
  const middle = (pick: (time: LayerTime) => number): number => middleMean(times.map(pick));
  return {
    waitMs: middle(({ waitMs }) => waitMs),
    cacheMs: middle(({ cacheMs }) => cacheMs),
    computeMs: middle(({ computeMs }) => computeMs),
    activeShare: middle(({ activeShare }) => activeShare),
  };
}

/** Mean without the tenth at either end: a run's figures are means too, but what stalls once in so few tokens says little. */
export function middleMean(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const away = Math.floor(sorted.length / 10);
  const kept = sorted.slice(away, sorted.length - away);
  return kept.reduce((total, value) => total + value, 0) / Math.max(1, kept.length);
}

/** Writes the next token of a scene: neurons picked at random among those that have slots now, and those that have none. */
export function writeScene(script: Script, stage: Stage, scene: Scene, random: () => number): void {
  script.namedByLayer = stage.bundle.manifest.layers.map(({ neuronCount }, layerIndex) =>
    pickNamed(stage.cache, layerIndex, neuronCount, scene, random),
  );
}

function pickNamed(
  cache: NeuronCache,
  layerIndex: number,
  neuronCount: number,
  { hitCount, missCount }: Scene,
  random: () => number,
): Uint32Array {
  const resident = cache.residentIds(layerIndex);
  const isResident = new Uint8Array(neuronCount);
  for (const id of resident) isResident[id] = 1;
  const absent = Uint32Array.from({ length: neuronCount }, (_, id) => id).filter(
    (id) => isResident[id] === 0,
  );
  return Uint32Array.from([...pick(resident, hitCount, random), ...pick(absent, missCount, random)]).sort();
}

/** So many of a list, at random; reorders it. */
function pick(list: Uint32Array, count: number, random: () => number): Uint32Array {
  const most = Math.min(count, list.length);
  for (let index = 0; index < most; index++) {
    const other = index + Math.floor(random() * (list.length - index));
    [list[index], list[other]] = [list[other]!, list[index]!];
  }
  return list.subarray(0, most);
}

/** Numbers from 0 to 1, always the same ones. */
export function sameRandom(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}
