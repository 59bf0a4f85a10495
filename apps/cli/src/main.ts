import { FlashlmError } from "@flashlm/contracts";
import { Command } from "commander";
import { addBundle } from "./commands/bundle.js";
import { addCalibrate } from "./commands/calibrate.js";
import { addDevice } from "./commands/device.js";
import { addDoctor } from "./commands/doctor.js";
import { addEval } from "./commands/eval.js";
import { addImportPredictor } from "./commands/import-predictor.js";
import { addInspect } from "./commands/inspect.js";
import { addLogits } from "./commands/logits.js";
import { addPerplexity } from "./commands/perplexity.js";
import { addPlan } from "./commands/plan.js";
import { addReplay } from "./commands/replay.js";
import { addRun } from "./commands/run.js";
import { addSynth } from "./commands/synth.js";
import { addTrainPredictor } from "./commands/train-predictor.js";

/** Runs the command line. Sets the exit code: 0 well, 1 an error of flashlm (its code is printed), 2 a fault of ours, 130 interrupted. */
export async function main(args: readonly string[]): Promise<void> {
  const program = new Command("flashlm")
    .description("Runs language models bigger than the memory they are given: weights stay on flash.")
    .version("0.1.0")
    .showHelpAfterError();
  const commands = [
    addRun,
    addBundle,
    addCalibrate,
    addDevice,
    addDoctor,
    addEval,
    addImportPredictor,
    addInspect,
    addLogits,
    addPerplexity,
    addPlan,
    addReplay,
    addSynth,
    addTrainPredictor,
  ];
  for (const add of commands) add(program);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (FlashlmError.isInstance(error)) {
      process.stderr.write(`flashlm: ${error.message} [${error.code}]\n`);
      process.exitCode ??= 1;
    } else {
      process.stderr.write(
        `flashlm: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
      );
      process.exitCode = 2;
    }
  }
}
