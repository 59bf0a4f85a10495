import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Checkpoint,
  chooseDtype,
  type DtypeChoice,
  hashCheckpoint,
  isBundle,
  openCheckpoint,
  recoverReplacement,
  roundsToFourBits,
} from "@flashlm/bundler";
import { assert, ERROR_CODES, type ErrorCode, FlashlmError } from "@flashlm/contracts";
import { flashlmHome } from "./home.js";
import type { EngineFlags } from "./options.js";

/** In {@link flashlmHome}: what checkpoints hash to. */
export const HASHES_FILE = "hashes.json";

interface HashIndex {
  [path: string]: { readonly sizeBytes: number; readonly modifiedMs: number; readonly hash: string };
}

/** The embedded model's file, when its package is installed beside us. @throws ENGINE_OPTION with what to do when it is not. */
export async function embeddedModelPath(): Promise<string> {
  try {
    const name = "@flashlm/model-smollm2";
    const { modelPath } = (await import(name)) as { modelPath: string };
    return modelPath;
  } catch {
    throw new FlashlmError(
      "ENGINE_OPTION",
      "Expected a model: no model was named and the embedded one is not installed. Name a bundle, a Hugging Face folder or a GGUF file.",
    );
  }
}

/** The path of a MODEL argument: a bundle or a checkpoint. @throws CHECKPOINT_NOT_FOUND where nothing is there. */
export async function findModel(model: string | undefined): Promise<string> {
  const path = resolve(model ?? (await embeddedModelPath()));
  if (!existsSync(path)) await recoverReplacement(path);
  if (existsSync(path)) return path;
  throw new FlashlmError(
    "CHECKPOINT_NOT_FOUND",
    `Expected a bundle folder, a Hugging Face folder or a GGUF file but ${path} does not exist. Check the path.`,
    { path },
  );
}

/** Where the bundle that a checkpoint becomes on first use is kept: its content and its dtypes make its name. */
export function bundlePathOf(checkpoint: Checkpoint, contentHash: string, choice: DtypeChoice): string {
  const { dtype, residentDtype } = choice;
  const chosen = `${dtype}${roundsToFourBits(choice) ? "-measured" : ""}${residentDtype ? `-residents-${residentDtype}` : ""}`;
  const name = `${safeName(checkpoint.name)}-${contentHash.slice(0, 16)}-${chosen}`;
  return join(flashlmHome(), "bundles", name);
}

/** Dtypes of a bundle that is made on first use. */
type WantedDtypes = Pick<EngineFlags, "dtype" | "residentDtype">;

/** The bundle for a MODEL argument: itself if it is one, else one made from the checkpoint and kept as {@link bundlePathOf} says. */
export async function resolveBundle(
  model: string | undefined,
  { dtype, residentDtype }: WantedDtypes,
  quiet: boolean,
): Promise<string> {
  const path = await findModel(model);
  if (isBundle(path)) return path;
  assert(residentDtype !== "auto", "the precision of residents is settled before a bundle is made");
  const checkpoint = await openCheckpoint(path);
  try {
    const contentHash = await contentHashOf(checkpoint.paths);
    const choice = chooseDtype(checkpoint, dtype, residentDtype);
    const outPath = bundlePathOf(checkpoint, contentHash, choice);
    if (isBundle(outPath)) return outPath;
    const residents = choice.residentDtype ? ` with residents in ${choice.residentDtype}` : "";
    if (!quiet)
      process.stderr.write(
        `bundling ${basename(path)} as ${choice.dtype}${residents} (first use; kept in ${outPath})\n`,
      );
    bundleInChild(path, outPath, { dtype, residentDtype }, quiet);
    return outPath;
  } finally {
    checkpoint.close();
  }
}

/** A process of its own makes the bundle, so that what it needed does not count in the run that follows. */
function bundleInChild(
  path: string,
  outPath: string,
  { dtype, residentDtype }: { [Name in keyof WantedDtypes]: WantedDtypes[Name] | undefined },
  quiet: boolean,
): void {
  const program = fileURLToPath(new URL("../bin/flashlm.cjs", import.meta.url));
  const { status, stderr, signal } = spawnSync(
    process.execPath,
    [
      ...[program, "bundle", path, "--out", outPath],
      ...(dtype ? ["--dtype", dtype] : []),
      ...(residentDtype ? ["--resident-dtype", residentDtype] : []),
    ],
    {
      stdio: ["ignore", "ignore", quiet ? "pipe" : "inherit"],
      encoding: "utf8",
    },
  );
  if (status === 0 && isBundle(outPath)) return;
  const said = /flashlm: (.*) \[([A-Z_]+)\]\s*$/.exec(stderr ?? "");
  const code = (ERROR_CODES as readonly string[]).includes(said?.[2] ?? "")
    ? (said?.[2] as ErrorCode)
    : "BUNDLE_WRITE";
  throw new FlashlmError(
    code,
    said?.[1] ??
      `Expected a bundle of ${path} but making it ended with ${signal ?? `exit code ${status}`}; it goes on from there next time.`,
    { path },
  );
}

function safeName(name: string): string {
  return (
    basename(name)
      .replace(/[^A-Za-z0-9._-]+/g, "-")
      .slice(0, 60) || "model"
  );
}

/** Hashes each file once: path, size and modification time stand for its content afterwards. */
export async function contentHashOf(paths: readonly string[]): Promise<string> {
  const indexPath = join(flashlmHome(), HASHES_FILE);
  const index: HashIndex = readIndex(indexPath);
  const key = paths.join("\n");
  const stats = paths.map((path) => statSync(path));
  const sizeBytes = stats.reduce((total, stat) => total + stat.size, 0);
  const modifiedMs = Math.max(...stats.map((stat) => stat.mtimeMs));
  const known = index[key];
  if (known && known.sizeBytes === sizeBytes && known.modifiedMs === modifiedMs) return known.hash;
  const hash = await hashCheckpoint(paths);
  const temporary = `${indexPath}.${process.pid}`;
  writeFileSync(temporary, JSON.stringify({ ...index, [key]: { sizeBytes, modifiedMs, hash } }));
  renameSync(temporary, indexPath);
  return hash;
}

function readIndex(path: string): HashIndex {
  try {
    const parsed: unknown = JSON.parse(readFileSync(path, "utf8"));
    return typeof parsed === "object" && parsed !== null ? (parsed as HashIndex) : {};
  } catch {
    return {}; // Absent or damaged: it is only a memory of hashes, made again as needed.
  }
}
