import { FlashlmError } from "@flashlm/contracts";
import type { Command } from "commander";
import { type EngineFlags, wholeNumber, withEngineFlags } from "../options.js";
import { createProgress } from "../progress.js";
import { makeReport, modeLine, systemReadBytes } from "../report.js";
import { openModel, startSession } from "../session.js";
import { resolveSparsity } from "../sparsity-auto.js";
import { readTextTokens, type TextFlags } from "../text-option.js";

interface PerplexityFlags extends EngineFlags, TextFlags {
  readonly window: number;
  readonly limit?: number;
}

/** Registers `flashlm perplexity`. */
export function addPerplexity(program: Command): void {
  const command = program
    .command("perplexity")
    .description(
      "perplexity of a text, in windows that do not overlap; the first token of a window is not scored",
    )
    .argument("<model>", "bundle folder, Hugging Face folder or GGUF file")
    .option("--text <file>", "UTF-8 text")
    .option("--tokens <ids>", "tokens instead of a text: 1,2,3 or a JSON file")
    .option(
      "--window <tokens>",
      "tokens per window; a last, shorter one is left out",
      wholeNumber("--window", 2, 1 << 20),
      512,
    )
    .option("--limit <tokens>", "only the first tokens of the text", wholeNumber("--limit", 2));
  withEngineFlags(command).action((model: string, flags: PerplexityFlags) => perplexity(model, flags));
}

/** Windows of a text: whole ones only, or the text itself where it is shorter than one. */
export function cutWindows(tokens: readonly number[], window: number): (readonly number[])[] {
  if (tokens.length < window) return tokens.length > 1 ? [tokens] : [];
  return Array.from({ length: Math.floor(tokens.length / window) }, (_, index) =>
    tokens.slice(index * window, (index + 1) * window),
  );
}

async function perplexity(name: string, asked: PerplexityFlags): Promise<void> {
  const model = await openModel(name, asked);
  const flags = await resolveSparsity(model, asked);
  const all = readTextTokens(flags, model.tokenizer);
  const windows = cutWindows(flags.limit ? all.slice(0, flags.limit) : all, flags.window);
  if (windows.length === 0)
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected a text of at least 2 tokens but received ${all.length}.`,
    );
  const before = systemReadBytes();
  const session = await startSession(
    model,
    { ...flags, context: flags.context ?? windows[0]!.length },
    windows[0]!.length,
  );
  const progress = createProgress(!flags.json);
  let totalNll = 0;
  let scoredTokens = 0;
  try {
    for (const [index, window] of windows.entries()) {
      const losses = await session.generator.score(window);
      totalNll += losses.subarray(1).reduce((sum, loss) => sum + loss, 0);
      scoredTokens += window.length - 1;
      progress.update("scoring", (index + 1) / windows.length);
    }
  } finally {
    progress.end();
    await session.generator.close();
  }
  const meanNll = totalNll / scoredTokens;
  const report = makeReport(session, before);
  const result = { scoredTokens, meanNll, perplexity: Math.exp(meanNll), keptShare: report.keptShare };
  if (flags.json) process.stdout.write(`${JSON.stringify({ ...result, mode: session.mode, report })}\n`);
  else {
    process.stderr.write(`${modeLine(session.mode)}\n`);
    process.stdout.write(
      `perplexity ${result.perplexity.toFixed(4)} (mean NLL ${meanNll.toFixed(6)} over ${scoredTokens} tokens, kept ${(100 * result.keptShare).toFixed(1)}% of neurons, ${report.promptTokensPerSecond.toFixed(0)} tokens/s)\n`,
    );
  }
}
