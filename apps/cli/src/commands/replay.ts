import { FlashlmError } from "@flashlm/contracts";
import {
  CACHE_CHOICES,
  parseCache,
  type ReplayRow,
  replayOptimum,
  replayTrace,
  type Trace,
} from "@flashlm/window-cache";
import type { Command } from "commander";
import { formatBytes } from "../memory-option.js";
import { wholeNumber } from "../options.js";
import { formatTable } from "../table.js";
import { readTraceFile } from "../trace-file.js";

interface ReplayFlags {
  readonly slots: string;
  readonly caches: string;
  readonly cacheWindow: number;
  readonly warmup?: number;
  readonly json?: boolean;
}

/** First tokens that only fill the slots: a quarter of the trace, at most this many. */
const WARMUP_TOKENS_MAX = 16;

/** Registers `flashlm replay`. */
export function addReplay(program: Command): void {
  program
    .command("replay")
    .description("compare caches on a recorded trace with the best that any could do (Belady's optimum)")
    .argument("<trace>", "file that run --trace wrote")
    .option(
      "--slots <counts>",
      "slots per layer: numbers, or shares of the layer's neurons",
      "10%,25%,50%,75%",
    )
    .option("--caches <names>", `which caches: ${CACHE_CHOICES}`, "window,compact,lru,lfu,pinned,hybrid,auto")
    .option(
      "--cache-window <tokens>",
      "tokens whose neurons the compact cache keeps",
      wholeNumber("--cache-window", 1, 4096),
      5,
    )
    .option(
      "--warmup <tokens>",
      "first tokens that are not counted (default: a quarter, at most 16)",
      wholeNumber("--warmup", 0),
    )
    .option("--json", "print one JSON object on stdout and nothing else")
    .action((path: string, flags: ReplayFlags) => replay(path, flags));
}

interface SlotChoice {
  readonly name: string;
  readonly slotCountByLayer: readonly number[];
}

/** Slots per layer as `--slots` names them. @throws ENGINE_OPTION. */
export function parseSlots(text: string, unitCounts: readonly number[]): SlotChoice[] {
  return text.split(",").map((part) => {
    const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(part.trim());
    const amount = Number(match?.[1]);
    const valid = match && (match[2] === "%" ? amount <= 100 : Number.isInteger(amount) && amount < 2 ** 24);
    if (!valid) {
      throw new FlashlmError(
        "ENGINE_OPTION",
        `Expected --slots to be numbers or shares like 500,25% but received "${part}".`,
        { slots: part },
      );
    }
    const slotCountByLayer = unitCounts.map((unitCount) =>
      match[2] === "%" ? Math.round((amount / 100) * unitCount) : amount,
    );
    return { name: part.trim(), slotCountByLayer };
  });
}

async function replay(path: string, flags: ReplayFlags): Promise<void> {
  const choices = flags.caches.split(",").map((name) => parseCache(name.trim()));
  const trace = await readTraceFile(path);
  const slots = parseSlots(
    flags.slots,
    trace.layers.map((layer) => layer.unitCount),
  );
  const warmupTokens = flags.warmup ?? Math.min(WARMUP_TOKENS_MAX, Math.floor(trace.tokenCount / 4));
  if (trace.tokenCount <= warmupTokens) {
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected a trace of more than ${warmupTokens} tokens but ${path} has ${trace.tokenCount}. Record a longer one or give a smaller --warmup.`,
      { tokenCount: trace.tokenCount, warmupTokens },
    );
  }
  const results = slots.map(({ name, slotCountByLayer }) => {
    const options = { slotCountByLayer, windowTokens: flags.cacheWindow, warmupTokens };
    return {
      slots: name,
      rows: [replayOptimum(trace, options), ...choices.map((choice) => replayTrace(trace, choice, options))],
    };
  });
  const demand = demandOf(trace);
  if (flags.json) {
    const { model, sparsity, unit, recordBytes } = trace.header;
    process.stdout.write(
      `${JSON.stringify({ model, sparsity, unit, recordBytes, tokenCount: trace.tokenCount, warmupTokens, demand, results })}\n`,
    );
    return;
  }
  process.stdout.write(`${describe(trace, demand, warmupTokens, results).join("\n")}\n`);
}

/** Units that a token names, over all layers. */
function demandOf(trace: Trace): { unitsPerToken: number; share: number; bytesPerToken: number } {
  const named =
    trace.layers.reduce((total, layer) => total + layer.ids.length, 0) / Math.max(1, trace.tokenCount);
  const all = trace.layers.reduce((total, layer) => total + layer.unitCount, 0);
  return { unitsPerToken: named, share: named / all, bytesPerToken: named * trace.header.recordBytes };
}

function describe(
  trace: Trace,
  demand: ReturnType<typeof demandOf>,
  warmupTokens: number,
  results: readonly { slots: string; rows: readonly ReplayRow[] }[],
): string[] {
  const { model, sparsity, unit } = trace.header;
  return [
    `${model}, ${sparsity}: ${trace.tokenCount} tokens, of which ${trace.tokenCount - warmupTokens} are counted`,
    `a token names ${demand.unitsPerToken.toFixed(0)} ${unit}s, ${(100 * demand.share).toFixed(1)}% of all, ${formatBytes(demand.bytesPerToken)}`,
    "",
    ...formatTable(
      ["slots", "cache", "hit rate", "of the best", "read per token"],
      results.flatMap(({ slots, rows }) =>
        rows.map((row, index) => [
          index === 0 ? slots : "",
          row.name,
          `${(100 * row.hitRate).toFixed(1)}%`,
          rows[0]!.hitRate > 0 ? `${((100 * row.hitRate) / rows[0]!.hitRate).toFixed(0)}%` : "-",
          formatBytes(row.readBytesPerToken),
        ]),
      ),
      2,
    ),
  ];
}
