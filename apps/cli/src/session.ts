import { Worker } from "node:worker_threads";
import { openBundle } from "@flashlm/bundler";
import { FlashlmError, type TokenGenerator } from "@flashlm/contracts";
import { usualThreadCount } from "@flashlm/kernels";
import {
  connectGenerator,
  loadTokenizer,
  type MemoryPlan,
  residentDtypeOf,
  type TextTokenizer,
} from "@flashlm/runtime";
import type { OpenDraft } from "./draft.js";
import {
  besideEngineBytes,
  engineMemoryBytes,
  type MeasuredProcess,
  planWithin,
  processOverheadBytes,
} from "./engine-memory.js";
import type { EngineSetup } from "./engine-parts.js";
import { loadDemand } from "./measured-store.js";
import { formatBytes, parseMemory } from "./memory-option.js";
import { resolveBundle } from "./model-path.js";
import type { EngineFlags } from "./options.js";

/** A bundle with its tokenizer, before the engine is made. */
export interface OpenModel extends MeasuredProcess {
  readonly bundlePath: string;
  readonly tokenizer: TextTokenizer | null;
}

/** An engine that is ready, and what it was planned with. */
export interface Session {
  readonly generator: TokenGenerator;
  /** The generator's, with why it is so. */
  readonly mode: Readonly<Record<string, string>>;
  readonly plan: MemoryPlan;
  /** Of the draft model, where there is one. */
  readonly draftPlan: MemoryPlan | null;
  /** The process's own memory: Node, code, tokenizer, threads. */
  readonly overheadBytes: number;
  readonly limitBytes: number;
}

/** Finds or makes the bundle of a MODEL argument and opens it. */
export async function openModel(model: string | undefined, flags: EngineFlags): Promise<OpenModel> {
  const bundlePath = await resolveBundle(model, flags, flags.json === true);
  const bundle = await openBundle(bundlePath);
  if (flags.dtype && bundle.manifest.dtype !== flags.dtype) {
    throw new FlashlmError(
      "BUNDLE_DTYPE",
      `Expected a ${flags.dtype} bundle but ${bundlePath} holds ${bundle.manifest.dtype}. Name the checkpoint instead, or leave --dtype out.`,
    );
  }
  const residentDtype = bundle.manifest.residentDtype ?? residentDtypeOf(bundle);
  if (flags.residentDtype && residentDtype !== flags.residentDtype) {
    throw new FlashlmError(
      "BUNDLE_DTYPE",
      `Expected a bundle with residents in ${flags.residentDtype} but those of ${bundlePath} are in ${residentDtype}. Name the checkpoint instead, or leave --resident-dtype out.`,
    );
  }
  const tokenizer = await loadTokenizer(bundlePath);
  return { bundlePath, bundle, tokenizer, overheadBytes: processOverheadBytes() };
}

/** The tokenizer, or an error that says how to do without. */
export function needTokenizer(model: OpenModel): TextTokenizer {
  if (model.tokenizer) return model.tokenizer;
  throw new FlashlmError(
    "TOKENIZER_UNSUPPORTED",
    "Expected a tokenizer but the bundle has none. Give token ids instead (--prompt-tokens 1,2,3).",
  );
}

/** What an engine is set up with. */
export function setUpEngine(model: OpenModel, flags: EngineFlags, contextNeeded: number): EngineSetup {
  return {
    flags,
    bundlePath: model.bundlePath,
    memoryBytes: engineMemoryBytes(model.bundle, flags, besideEngineBytes(model)),
    contextNeeded,
    threadCount: flags.threads ?? usualThreadCount(),
    demand: loadDemand(model.bundle, flags.sparsity),
    stop: new SharedArrayBuffer(4),
  };
}

/** The draft's context is as long as the text will be: a longer one would be memory for nothing. */
function setUpDraft(
  { model, flags, memoryBytes }: OpenDraft,
  target: EngineSetup,
  asked = Infinity,
): EngineSetup {
  const { contextLengthMax } = model.bundle.manifest.model;
  const context = Math.max(1, Math.min(asked, target.contextNeeded, contextLengthMax));
  const demand = loadDemand(model.bundle, flags.sparsity);
  return { ...target, flags: { ...flags, context }, bundlePath: model.bundlePath, memoryBytes, demand };
}

/**
 * Plans the memory, starts the engine's thread and waits until its weights are loaded. A limit for the whole process includes the draft
 * model's memory, a share of the weights does not.
 */
export async function startSession(
  model: OpenModel,
  flags: EngineFlags,
  contextNeeded: number,
  draft: OpenDraft | null = null,
): Promise<Session> {
  const alone = setUpEngine(model, flags, contextNeeded);
  const draftSetup = draft && setUpDraft(draft, alone, flags.context);
  const draftPlan = draft && draftSetup ? planWithin(draft.model, draftSetup.flags, draftSetup) : null;
  const isShared = parseMemory(flags.memory).kind === "bytes";
  const setup: EngineSetup = {
    ...alone,
    memoryBytes: alone.memoryBytes - (isShared ? (draftPlan?.totalBytes ?? 0) : 0),
    ...(draft && draftSetup ? { draft: { setup: draftSetup, tokens: draft.draftTokens } } : {}),
  };
  const plan = planWithin(model, flags, setup);
  const worker = new Worker(new URL("./engine-worker.js", import.meta.url), { workerData: setup });
  const generator = await connectGenerator(worker, setup.stop);
  const limitBytes = plan.totalBytes + (draftPlan?.totalBytes ?? 0) + model.overheadBytes;
  const mode = explainMode(generator.mode, flags);
  return { generator, mode, plan, draftPlan, overheadBytes: model.overheadBytes, limitBytes };
}

function explainMode(
  mode: Readonly<Record<string, string>>,
  { lookAheadReason, residentReason }: EngineFlags,
): Readonly<Record<string, string>> {
  const lookAhead = mode["look-ahead"];
  const explained = { ...mode, ...(residentReason === undefined ? {} : { residents: residentReason }) };
  return lookAhead === undefined || lookAheadReason === undefined
    ? explained
    : { ...explained, "look-ahead": `${lookAhead} (${lookAheadReason})` };
}

/** The plan as lines for people. */
export function describePlan(
  session: Pick<Session, "plan" | "overheadBytes" | "limitBytes"> & Partial<Pick<Session, "draftPlan">>,
): string[] {
  const draftRows = session.draftPlan?.rows ?? [];
  const rows = [
    ...session.plan.rows,
    ...draftRows.map(({ owner, plannedBytes }) => ({ owner: `draft: ${owner}`, plannedBytes })),
    { owner: "process (Node, code, tokenizer, threads)", plannedBytes: session.overheadBytes },
  ];
  const width = Math.max(...rows.map((row) => row.owner.length));
  return [
    ...rows.map((row) => `  ${row.owner.padEnd(width)}  ${formatBytes(row.plannedBytes).padStart(11)}`),
    `  ${"total".padEnd(width)}  ${formatBytes(session.limitBytes).padStart(11)}`,
  ];
}
