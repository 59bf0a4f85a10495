import { FlashlmError, type WeightDtype } from "@flashlm/contracts";
import { SPARSITY_CHOICES } from "@flashlm/predictor";
import { DRAFT_TOKENS, DRAFT_TOKENS_MAX, type TextTokenizer } from "@flashlm/runtime";
import { type Command, Option } from "commander";
import { parseMemory } from "./memory-option.js";
import { type EngineFlags, WEIGHT_DTYPES, wholeNumber } from "./options.js";
import { type OpenModel, openModel } from "./session.js";

/** Flags of speculative decoding. */
export interface DraftFlags {
  readonly draft?: string;
  readonly draftTokens: number;
  readonly draftMemory: string;
  readonly draftDtype?: WeightDtype;
  readonly draftSparsity: string;
}

/** A draft model, ready to be planned. */
export interface OpenDraft {
  readonly model: OpenModel;
  /** The target's flags as far as they concern a draft. */
  readonly flags: EngineFlags;
  /** Bytes for its engine; Infinity keeps everything resident. */
  readonly memoryBytes: number;
  readonly draftTokens: number;
}

/** Every this many-th token is compared when two tokenizers are. */
const SAMPLED_TOKENS = 37;
/** Share of tokens in which tokenizers of one family may differ: those that were added for chats. */
const DIFFERENT_SHARE_MAX = 0.05;

/** Adds the flags of {@link DraftFlags} to a command. */
export function withDraftFlags(command: Command): Command {
  return command
    .option(
      "--draft <model>",
      "smaller model whose guesses are verified several at once (speculative decoding)",
    )
    .option(
      "--draft-tokens <count>",
      `tokens guessed at once, up to ${DRAFT_TOKENS_MAX}`,
      wholeNumber("--draft-tokens", 1, DRAFT_TOKENS_MAX),
      DRAFT_TOKENS,
    )
    .option("--draft-memory <amount>", "of the draft's weights (60%), in bytes (200MiB) or max", "max")
    .addOption(new Option("--draft-dtype <dtype>", "weights of the draft's bundle").choices(WEIGHT_DTYPES))
    .option("--draft-sparsity <which>", SPARSITY_CHOICES.join(" | "), "dense");
}

/** Opens the draft model that the flags name, or null. @throws ENGINE_DRAFT, ENGINE_OPTION. */
export async function openDraft(
  target: OpenModel,
  flags: EngineFlags & DraftFlags,
): Promise<OpenDraft | null> {
  if (flags.draft === undefined) return null;
  if (flags.trace !== undefined)
    throw new FlashlmError(
      "ENGINE_OPTION",
      "Expected --trace without --draft: a trace records tokens one by one. Leave one of them out.",
    );
  const { dtype: _dtype, residentDtype: _residentDtype, ...rest } = flags;
  const model = await openModel(flags.draft, {
    ...rest,
    ...(flags.draftDtype ? { dtype: flags.draftDtype } : {}),
  });
  if (target.tokenizer && model.tokenizer) checkTokenizers(target.tokenizer, model.tokenizer);
  const option = parseMemory(flags.draftMemory, "--draft-memory");
  const memoryBytes = {
    share: () => (option.kind === "share" ? Math.floor(option.share * model.bundle.weightBytes) : 0),
    bytes: () => (option.kind === "bytes" ? option.bytes : 0),
    max: () => Number.POSITIVE_INFINITY,
  }[option.kind]();
  return {
    model,
    flags: { ...rest, sparsity: flags.draftSparsity, lookAhead: "auto" },
    memoryBytes,
    draftTokens: flags.draftTokens,
  };
}

/** Tokens must mean the same to both: a guess in another vocabulary would never be accepted. */
function checkTokenizers(target: TextTokenizer, draft: TextTokenizer): void {
  let sampledCount = 0;
  let differentCount = 0;
  for (let id = 0; id < target.vocabularySize; id += SAMPLED_TOKENS) {
    sampledCount++;
    if (target.decode([id]) !== draft.decode([id])) differentCount++;
  }
  if (differentCount <= sampledCount * DIFFERENT_SHARE_MAX) return;
  throw new FlashlmError(
    "ENGINE_DRAFT",
    `Expected a draft model with the target's tokenizer but ${Math.round((100 * differentCount) / sampledCount)}% of its tokens mean something else. Use a smaller model of the same family.`,
    { sampledCount, differentCount },
  );
}
