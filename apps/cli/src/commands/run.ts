import { once } from "node:events";
import { text as readAll } from "node:stream/consumers";
import { FlashlmError } from "@flashlm/contracts";
import { createStopMatcher } from "@flashlm/runtime";
import type { Command } from "commander";
import { looksLikeModel } from "../arguments.js";
import { type DraftFlags, openDraft, withDraftFlags } from "../draft.js";
import { forecastSession } from "../forecasting.js";
import { settleLookAhead } from "../look-ahead-auto.js";
import { saveLookAhead } from "../measured-store.js";
import { type EngineFlags, RESIDENT_CHOICES, realNumber, wholeNumber, withEngineFlags } from "../options.js";
import { describeReport, makeReport, modeLine, systemReadBytes } from "../report.js";
import { settleResidents } from "../resident-auto.js";
import {
  describePlan,
  needTokenizer,
  type OpenModel,
  openModel,
  type Session,
  startSession,
} from "../session.js";
import { resolveSparsity } from "../sparsity-auto.js";
import { parseTokens } from "../tokens-option.js";

interface RunFlags extends EngineFlags, DraftFlags {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed?: number;
  readonly raw?: boolean;
  readonly system?: string;
  readonly promptTokens?: string;
  readonly ignoreEos?: boolean;
  readonly stop?: string[];
  readonly quiet?: boolean;
}

/** Registers `flashlm run`. */
export function addRun(program: Command): void {
  const command = program
    .command("run")
    .description("generate text")
    .argument("[model]", "bundle folder, Hugging Face folder or GGUF file (default: the embedded model)")
    .argument("[prompt]", "text; read from standard input when absent");
  withDraftFlags(withEngineFlags(command, RESIDENT_CHOICES))
    .option("--max-tokens <count>", "tokens to generate at most", wholeNumber("--max-tokens", 1), 256)
    .option("--temperature <t>", "0 is greedy", realNumber("--temperature", 0, 100), 0.7)
    .option("--top-k <count>", "0 is off", wholeNumber("--top-k", 0), 0)
    .option("--top-p <share>", "1 is off", realNumber("--top-p", 0, 1), 0.95)
    .option("--min-p <share>", "0 is off", realNumber("--min-p", 0, 1), 0)
    .option("--repetition-penalty <factor>", "1 is off", realNumber("--repetition-penalty", 0.01, 100), 1)
    .option("--seed <number>", "same seed, same text (default: random)", wholeNumber("--seed", 0, 0xffffffff))
    .option("--raw", "no chat template")
    .option("--system <text>", "system message for the chat template")
    .option("--prompt-tokens <ids>", "prompt as token ids, 1,2,3 or a JSON file")
    .option("--ignore-eos", "go on after the end token")
    .option("--stop <text...>", "end before this text")
    .option("--trace <file>", "record which neurons each token wants, for replay")
    .option(
      "--follow <ids>",
      "take these tokens, not the model's choices, to time a text: 1,2,3 or a JSON file",
    )
    .option("--quiet", "the answer only")
    .action((model: string | undefined, prompt: string | undefined, flags: RunFlags) =>
      run(model, prompt, flags),
    );
}

async function run(first: string | undefined, second: string | undefined, given: RunFlags): Promise<void> {
  // One argument may be a model or a prompt: an existing path is a model.
  const [modelName, promptArgument] =
    second === undefined && first !== undefined && !looksLikeModel(first)
      ? [undefined, first]
      : [first, second];
  const asked = await settleResidents(modelName, given);
  const model = await openModel(modelName, asked);
  const promptTokens = await promptOf(model, promptArgument, asked);
  const contextNeeded = promptTokens.length + asked.maxTokens;
  const sparse = await resolveSparsity(model, asked, contextNeeded);
  // Drafted tokens are verified several at once, for which nothing is guessed; the cost model knows no draft.
  const flags = sparse.draft ? sparse : await settleLookAhead(model, sparse, contextNeeded);
  const { eos } = model.bundle.manifest.model.tokens;
  const stopTokens = flags.ignoreEos ? [] : eos;
  const before = systemReadBytes();
  if (flags.follow !== undefined && flags.draft !== undefined)
    throw new FlashlmError(
      "ENGINE_OPTION",
      "Expected --follow or --draft but received both: a draft guesses what the model would choose. Leave one out.",
    );
  const draft = await openDraft(model, flags);
  const session = await startSession(model, flags, promptTokens.length + flags.maxTokens, draft);
  const mode = { ...session.mode, ...(flags.follow ? { tokens: "given, not chosen" } : {}) };
  const interrupt = new AbortController();
  const onInterrupt = (): void => {
    if (interrupt.signal.aborted) process.exit(130);
    interrupt.abort(new FlashlmError("ENGINE_ABORTED", "Interrupted."));
  };
  process.on("SIGINT", onInterrupt);
  const quiet = flags.quiet === true || flags.json === true;
  if (!quiet)
    process.stderr.write(`${["memory plan:", ...describePlan(session), modeLine(mode)].join("\n")}\n\n`);
  try {
    const { tokens, text } = await generate(
      session,
      model,
      promptTokens,
      stopTokens,
      flags,
      interrupt.signal,
      !flags.json,
    );
    const positions = promptTokens.length + tokens.length / 2;
    // The cost model knows no draft.
    const forecast = draft ? null : forecastSession(session, model, flags, positions);
    const report = makeReport(session, before, forecast);
    saveLookAhead(model.bundle, flags.sparsity, session.generator.report());
    if (flags.json) process.stdout.write(`${JSON.stringify({ tokens, text, mode, report })}\n`);
    else process.stdout.write("\n");
    if (!quiet) process.stderr.write(`\n${describeReport(report).join("\n")}\n`);
  } finally {
    process.off("SIGINT", onInterrupt);
    await session.generator.close();
  }
  if (interrupt.signal.aborted) process.exitCode = 130;
}

async function promptOf(
  model: OpenModel,
  argument: string | undefined,
  flags: RunFlags,
): Promise<readonly number[]> {
  if (flags.promptTokens !== undefined) return parseTokens(flags.promptTokens);
  const prompt = argument ?? (await readAll(process.stdin));
  const tokenizer = needTokenizer(model);
  if (prompt.length === 0)
    throw new FlashlmError(
      "ENGINE_OPTION",
      "Expected a prompt but it is empty. Give it as an argument or on standard input.",
    );
  if (flags.raw || !tokenizer.hasChatTemplate) return tokenizer.encode(prompt, { addSpecialTokens: true });
  const messages = [
    ...(flags.system ? [{ role: "system", content: flags.system }] : []),
    { role: "user", content: prompt },
  ];
  return tokenizer.encode(tokenizer.renderChat(messages, { addGenerationPrompt: true }), {
    addSpecialTokens: false,
  });
}

async function generate(
  session: Session,
  model: OpenModel,
  promptTokens: readonly number[],
  stopTokens: readonly number[],
  flags: RunFlags,
  signal: AbortSignal,
  stream: boolean,
): Promise<{ tokens: number[]; text: string }> {
  const tokens: number[] = [];
  const pieces: string[] = [];
  const show = async (piece: string): Promise<void> => {
    pieces.push(piece);
    if (stream && piece.length > 0 && !process.stdout.write(piece)) await once(process.stdout, "drain");
  };
  const decoder = model.tokenizer?.createStreamDecoder() ?? { push: (id: number) => `${id} `, end: () => "" };
  const matcher = createStopMatcher(flags.stop ?? []);
  const sampling = {
    temperature: flags.temperature,
    topK: flags.topK,
    topP: flags.topP,
    minP: flags.minP,
    repetitionPenalty: flags.repetitionPenalty,
    seed: flags.seed ?? Math.floor(Math.random() * 2 ** 32),
  };
  try {
    for await (const event of session.generator.generate(promptTokens, {
      maxTokens: flags.maxTokens,
      sampling,
      stopTokens,
      signal,
    })) {
      tokens.push(event.tokenId);
      const { emit, stopped } = matcher.push(decoder.push(event.tokenId));
      await show(emit);
      if (stopped) return { tokens, text: pieces.join("") };
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  const { emit, stopped } = matcher.push(decoder.end());
  await show(stopped ? emit : emit + matcher.end());
  return { tokens, text: pieces.join("") };
}
