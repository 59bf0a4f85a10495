import { join } from "node:path";
import type { BundleIndex, SamplingOptions, TokenGenerator } from "@flashlm/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSampler } from "../../src/sampling/index.js";
import { bundleInto, engineOf, logitsOf } from "../support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "../support/fixtures.js";
import { speculativeOf } from "../support/speculation.js";

/** Proofs ask for more. */
const RUNS = Number(process.env.FLASHLM_RUNS ?? 500);
const PREFIX_COUNT = 6;
/** A right sampler fails with this probability, for all the tests of a run together (Bonferroni). */
const ALPHA = 1e-4;
const VOCABULARY = 320;

const targetPath = fixture("families/llama-relu");
const draftPath = fixture("families/llama");

/** Upper tail of the chi-square distribution (Wilson and Hilferty's cube root, good to a few percent there). */
function chiSquareTail(value: number, degrees: number): number {
  const z = (Math.cbrt(value / degrees) - (1 - 2 / (9 * degrees))) / Math.sqrt(2 / (9 * degrees));
  // Normal tail by its continued fraction for large z, by a series of the error function otherwise.
  if (z > 3)
    return Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI) / (z + 1 / (z + 2 / (z + 3 / (z + 4 / z))));
  let term = z;
  let sum = z;
  for (let n = 1; n < 80; n++) {
    term *= (-z * z * (2 * n - 1)) / (2 * n * (2 * n + 1));
    sum += term;
  }
  return 0.5 - sum / Math.sqrt(2 * Math.PI);
}

/** Tail probability of counts against expected ones, in cells of at least 8 expected. */
function tailOf(counts: ReadonlyMap<number, number>, probabilities: Float64Array, total: number): number {
  let statistic = 0;
  let cells = 0;
  let restExpected = 0;
  let restCount = 0;
  for (let id = 0; id < probabilities.length; id++) {
    const expectedCount = probabilities[id]! * total;
    const count = counts.get(id) ?? 0;
    if (expectedCount === 0) expect(count, `token ${id} has no probability`).toBe(0);
    if (expectedCount >= 8) {
      statistic += (count - expectedCount) ** 2 / expectedCount;
      cells++;
    } else {
      restExpected += expectedCount;
      restCount += count;
    }
  }
  if (restExpected > 0) {
    statistic += (restCount - restExpected) ** 2 / Math.max(restExpected, 1);
    cells++;
  }
  return cells < 2 ? 1 : chiSquareTail(statistic, cells - 1);
}

function groupBy(runs: readonly number[][], keyOf: (tokens: number[]) => string): Map<string, number[][]> {
  const groups = new Map<string, number[][]>();
  for (const tokens of runs) groups.set(keyOf(tokens), [...(groups.get(keyOf(tokens)) ?? []), tokens]);
  return groups;
}

const SAMPLINGS: Record<string, Omit<SamplingOptions, "seed">> = {
  "temperature alone": { temperature: 0.2, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 },
  "top-k and top-p": { temperature: 0.35, topK: 12, topP: 0.9, minP: 0, repetitionPenalty: 1 },
  "min-p and the repetition penalty": {
    temperature: 0.25,
    topK: 0,
    topP: 1,
    minP: 0.05,
    repetitionPenalty: 1.3,
  },
};

const ENGINES = ["plain", "a good draft", "a bad draft"];
/** What a short run tests. */
const QUICK: Record<string, string> = {
  "temperature alone": "a good draft",
  "top-k and top-p": "a good draft",
  "min-p and the repetition penalty": "a bad draft",
};

describe.skipIf(targetPath === null || draftPath === null)(
  "sampled tokens follow the target's distribution",
  () => {
    const folder = temporaryFolder();
    let target: BundleIndex;
    let engines: Record<string, TokenGenerator>;
    let plain: TokenGenerator;
    let prompt: readonly number[];
    beforeAll(async () => {
      target = await bundleInto(targetPath!, join(folder.path, "target"), "f32");
      const other = await bundleInto(draftPath!, join(folder.path, "draft"), "f32");
      prompt = readJson<Expected>(join(targetPath!, "expected.json")).prompt.slice(0, 4);
      plain = await engineOf(target, { options: { threadCount: 1 } });
      engines = {
        plain,
        "a good draft": await speculativeOf(
          [target, { options: { threadCount: 1 } }],
          [target, { sparsity: "shadow:0.3", options: { threadCount: 1 } }],
          3,
        ),
        "a bad draft": await speculativeOf(
          [target, { options: { threadCount: 1 } }],
          [other, { options: { threadCount: 1 } }],
          3,
        ),
      };
    });
    afterAll(async () => {
      for (const engine of Object.values(engines ?? {})) await engine.close();
      folder.dispose();
    });

    /** What the target gives after a prefix, through the same filters. */
    const probabilitiesAfter = async (
      prefix: readonly number[],
      sampling: SamplingOptions,
    ): Promise<Float64Array> => {
      const logits = await logitsOf(plain, prefix, VOCABULARY);
      const probabilities = new Float64Array(VOCABULARY);
      createSampler(sampling, VOCABULARY).weigh(logits.slice(-VOCABULARY), prefix, probabilities);
      return probabilities;
    };

    for (const [samplingName, filters] of Object.entries(SAMPLINGS)) {
      for (const engineName of RUNS <= 500 ? [QUICK[samplingName]!] : ENGINES) {
        it(`${samplingName}, ${engineName}`, async () => {
          const engine = engines[engineName]!;
          const before = engine.report().speculation;
          const runs: number[][] = [];
          for (let seed = 0; seed < RUNS; seed++) {
            const tokens: number[] = [];
            for await (const { tokenId } of engine.generate(prompt, {
              maxTokens: 4,
              sampling: { ...filters, seed },
              stopTokens: [],
            }))
              tokens.push(tokenId);
            runs.push(tokens);
          }
          // Every place of a run given what stands before it: the commonest beginnings have counts enough.
          const tails: number[] = [];
          for (let place = 0; place < 4; place++) {
            const byPrefix = groupBy(runs, (tokens) => tokens.slice(0, place).join());
            const commonest = [...byPrefix.values()]
              .sort((a, b) => b.length - a.length)
              .slice(0, PREFIX_COUNT);
            for (const group of commonest.filter(({ length }) => length >= 60)) {
              const counts = new Map<number, number>();
              for (const tokens of group) counts.set(tokens[place]!, (counts.get(tokens[place]!) ?? 0) + 1);
              const prefix = [...prompt, ...group[0]!.slice(0, place)];
              tails.push(
                tailOf(counts, await probabilitiesAfter(prefix, { ...filters, seed: 0 }), group.length),
              );
            }
          }
          expect(tails.length).toBeGreaterThan(3);
          expect(Math.min(...tails)).toBeGreaterThan(ALPHA / tails.length);
          const after = engine.report().speculation;
          if (!after || !before) return;
          // The rule was at work: some were rejected, and of a good draft's some were not.
          const accepted = after.acceptedTokens - before.acceptedTokens;
          if (engineName === "a good draft") expect(accepted).toBeGreaterThan(0);
          expect(accepted).toBeLessThan(after.proposedTokens - before.proposedTokens);
        });
      }
    }
  },
);
