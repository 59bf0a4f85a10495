import { diagnoseKernels, type KernelDiagnosis } from "@flashlm/kernels";
import type { Command } from "commander";

/** Registers `flashlm doctor`. */
export function addDoctor(program: Command): void {
  program
    .command("doctor")
    .description("say what this machine runs on: compute targets, which is chosen, why not the others")
    .option("--json", "print one JSON object on stdout and nothing else")
    .action((flags: { json?: boolean }) => doctor(flags.json === true));
}

/** One line per target. */
function describe({ target, usable, note }: KernelDiagnosis, chosen: boolean): string {
  const state = chosen ? "chosen" : usable ? "works" : "cannot be used";
  return `  ${target.padEnd(10)} ${state.padEnd(15)} ${note}`;
}

async function doctor(json: boolean): Promise<void> {
  const kernels = await diagnoseKernels();
  const chosen = kernels.find(({ usable }) => usable);
  if (json) {
    process.stdout.write(`${JSON.stringify({ kernels, chosen: chosen?.target ?? null })}\n`);
    return;
  }
  const lines = kernels.map((one) => describe(one, one === chosen));
  process.stdout.write(`kernels, fastest first:\n${lines.join("\n")}\n`);
}
