import { type CacheDtype, type DotPrecision, FlashlmError, type WeightDtype } from "@flashlm/contracts";
import { SPARSITY_CHOICES } from "@flashlm/predictor";
import { CACHE_CHOICES } from "@flashlm/window-cache";
import { type Command, Option } from "commander";
import { READERS, type ReaderChoice } from "./readers.js";

/** Flags shared by every command that runs a model, as commander parsed them. */
export interface EngineFlags {
  readonly memory?: string;
  readonly context?: number;
  readonly dtype?: WeightDtype;
  /** `auto` only where a command offers it, until `settleResidents` has settled it. */
  readonly residentDtype?: WeightDtype | "auto" | undefined;
  /** Why `auto` became what it is, for the mode line; no flag of its own. */
  readonly residentReason?: string;
  readonly sparsity: string;
  readonly lookAhead: "auto" | "on" | "off";
  /** Why `auto` became what it is, for the mode line; no flag of its own. */
  readonly lookAheadReason?: string;
  readonly kernels: "auto" | "native" | "wasm" | "reference";
  readonly reader: ReaderChoice;
  readonly kvCache: "auto" | CacheDtype;
  readonly dots: DotPrecision;
  /** As `parseCache` reads it. */
  readonly cache: string;
  /** File that `run` records the wanted neurons of each token into. */
  readonly trace?: string;
  /** Tokens that `run` takes in place of those it would choose, as `parseTokens` reads them. */
  readonly follow?: string;
  readonly threads?: number;
  readonly promptChunk?: number;
  readonly cacheWindow?: number;
  readonly verify: "first" | "always" | "never";
  readonly json?: boolean;
}

/** Parser for a whole number within bounds. */
export function wholeNumber(
  name: string,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isInteger(value) && value >= least && value <= most) return value;
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected ${name} to be a whole number from ${least} to ${most} but received "${text}".`,
      { [name]: text },
    );
  };
}

/** Parser for a number within bounds. */
export function realNumber(name: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= least && value <= most) return value;
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected ${name} to be a number from ${least} to ${most} but received "${text}".`,
      { [name]: text },
    );
  };
}

/** Dtypes that a bundle may have, as flags name them. */
export const WEIGHT_DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];

/** Values of `--resident-dtype` for commands that may choose by forecast. */
export const RESIDENT_CHOICES: readonly string[] = ["auto", ...WEIGHT_DTYPES];

function residentOption(choices: readonly string[]): Option {
  const auto = choices.includes("auto")
    ? "; auto: q8_0 where that is forecast to save a tenth of the time"
    : "";
  return new Option(
    "--resident-dtype <dtype>",
    `the same for attention projections, token embedding and head (default: as --dtype has them${auto})`,
  ).choices(choices);
}

/** Adds the flags of {@link EngineFlags} to a command; `residentChoices` are the values of `--resident-dtype`. */
export function withEngineFlags(
  command: Command,
  residentChoices: readonly string[] = WEIGHT_DTYPES,
): Command {
  return command
    .option(
      "--memory <amount>",
      "60% of the weights, 2GiB for the whole process, or max (default: what is available)",
    )
    .option(
      "--context <tokens>",
      "context length (default: what the memory affords)",
      wholeNumber("--context", 1, 1 << 20),
    )
    .addOption(new Option("--dtype <dtype>", "weights of a bundle made on first use").choices(WEIGHT_DTYPES))
    .addOption(residentOption(residentChoices))
    .option("--sparsity <which>", `auto (exact: oracle or dense) | ${SPARSITY_CHOICES.join(" | ")}`, "dense")
    .addOption(
      new Option(
        "--look-ahead <when>",
        "read what the next layer may want before it is known (auto: with lowrank, where the bundle has look-ahead heads and the forecast, if there is one, is better with them)",
      )
        .choices(["auto", "on", "off"])
        .default("auto"),
    )
    .addOption(
      new Option("--kernels <target>", "compute target")
        .choices(["auto", "native", "wasm", "reference"])
        .default("auto"),
    )
    .addOption(new Option("--reader <reader>", "how flash is read").choices(READERS).default("auto"))
    .option("--cache <cache>", `which neurons stay cached: ${CACHE_CHOICES}`, "auto")
    .addOption(
      new Option(
        "--kv-cache <dtype>",
        "what keys and values are kept in (auto: f32 for f32 bundles, else f16)",
      )
        .choices(["auto", "f32", "f16", "q8_0"])
        .default("auto"),
    )
    .addOption(
      new Option(
        "--dots <precision>",
        "arithmetic with quantised weights; q8 rounds activations to int8, which is lossy",
      )
        .choices(["f32", "q8"])
        .default("f32"),
    )
    .option(
      "--threads <count>",
      "compute threads (default: physical cores, within the CPU quota)",
      wholeNumber("--threads", 1, 256),
    )
    .option("--prompt-chunk <tokens>", "prompt tokens per pass", wholeNumber("--prompt-chunk", 1, 4096))
    .option(
      "--cache-window <tokens>",
      "tokens whose neurons stay cached",
      wholeNumber("--cache-window", 1, 4096),
    )
    .addOption(
      new Option("--verify <when>", "check records' checksums")
        .choices(["first", "always", "never"])
        .default("first"),
    )
    .option("--json", "print one JSON object on stdout and nothing else");
}
