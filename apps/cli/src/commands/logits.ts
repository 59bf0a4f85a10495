import { closeSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import type { Command } from "commander";
import { type EngineFlags, withEngineFlags } from "../options.js";
import { modeLine } from "../report.js";
import { openModel, startSession } from "../session.js";
import { resolveSparsity } from "../sparsity-auto.js";
import { parseTokens } from "../tokens-option.js";

/** Registers `flashlm logits`. */
export function addLogits(program: Command): void {
  const command = program
    .command("logits")
    .description("write the logits of a token sequence")
    .argument("<model>", "bundle folder, Hugging Face folder or GGUF file")
    .requiredOption("--tokens <ids>", "1,2,3 or a JSON file")
    .requiredOption("--out <file>", "safetensors file: tensor logits, f32, [tokens, vocabulary]");
  withEngineFlags(command).action((model: string, flags: EngineFlags & { tokens: string; out: string }) =>
    logits(model, flags),
  );
}

async function logits(
  name: string,
  asked: EngineFlags & { readonly tokens: string; readonly out: string },
): Promise<void> {
  const tokens = parseTokens(asked.tokens);
  const model = await openModel(name, asked);
  const flags = await resolveSparsity(model, asked, tokens.length);
  const session = await startSession(model, flags, tokens.length);
  const { vocabularySize } = model.bundle.manifest.model;
  const header = Buffer.from(
    JSON.stringify({
      logits: {
        dtype: "F32",
        shape: [tokens.length, vocabularySize],
        data_offsets: [0, tokens.length * vocabularySize * 4],
      },
    }),
  );
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(header.length));
  const partial = `${flags.out}.partial`;
  const file = openSync(partial, "w");
  try {
    writeSync(file, prefix);
    writeSync(file, header);
    await session.generator.evaluate(tokens, (rows, firstRow) => {
      const bytes = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength);
      writeSync(file, bytes, 0, bytes.length, 8 + header.length + firstRow * vocabularySize * 4);
    });
    closeSync(file);
    renameSync(partial, flags.out);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  } finally {
    await session.generator.close();
  }
  if (flags.json)
    process.stdout.write(
      `${JSON.stringify({ out: flags.out, shape: [tokens.length, vocabularySize], mode: session.mode })}\n`,
    );
  else
    process.stderr.write(
      `${modeLine(session.mode)}\nwrote ${tokens.length} x ${vocabularySize} logits to ${flags.out}\n`,
    );
}
