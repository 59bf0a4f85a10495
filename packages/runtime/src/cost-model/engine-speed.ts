/** What misses add to a layer of a sparse run, at one count of them. Milliseconds per layer. */
export interface MissCost {
  readonly missCount: number;
  /** From the reads' submission until the last has landed. */
  readonly waitMs: number;
  /** The same where blocks are streamed: the device serves both. */
  readonly streamedMs: number;
  readonly cacheMs: number;
  /** More programs, woken threads, and a processor that also serves the device. */
  readonly computeMs: number;
}

/**
 * What the engine itself adds to its kernels and its device at one model's shapes: measured by `rehearse`, which runs some layers as
 * the engine does. Milliseconds.
 */
export interface EngineSpeed {
  readonly sparse: {
    /** Each layer without misses, beyond what its attention takes: steps, selection, threads that have to be woken. */
    readonly stepMs: number;
    /** How many times longer records take that lie in slots at random than those that lie together. */
    readonly scatter: number;
    /** Asking the cache, and listing what it gives: each layer, and each named neuron of it. */
    readonly cacheLayerMs: number;
    readonly cacheNamedMs: number;
    /** What came in while blocks were streamed and little else was done: at least what the device does. And what the processor lost by it. */
    readonly blockBytesPerSecond: number;
    readonly blockMsPerByte: number;
    /** Ascending, the first one without misses; each takes a slot, for which another record is given up. */
    readonly misses: readonly MissCost[];
    /** The same of misses that find no slot, and are used where they land. */
    readonly overflows: readonly MissCost[];
  };
  readonly dense: {
    /** The two figures of a layer whose neurons all have slots, so that nothing of it is read; null where one layer's slots were too large to rehearse. */
    readonly resident: { readonly stepMs: number; readonly cacheMs: number } | null;
    /** Each layer that is streamed, beyond its attention, records and chunks. */
    readonly stepMs: number;
    /** Each chunk of records: its programs, and its plan, reads and lists. */
    readonly flightMs: number;
    readonly cacheFlightMs: number;
    readonly cacheNamedMs: number;
    /** What came in while whole layers were streamed, by bytes of staging, ascending: at least what the device does. */
    readonly streams: readonly { readonly flightBytes: number; readonly bytesPerSecond: number }[];
  };
}

/** What streaming with so much staging brings in: between measured sizes by logarithm, beyond them as at the nearest. Pure. */
export function streamBytesPerSecond(streams: EngineSpeed["dense"]["streams"], flightBytes: number): number {
  const above = streams.findIndex((stream) => stream.flightBytes >= flightBytes);
  const high = streams.at(above)!;
  const low = streams[above - 1];
  if (above < 0 || low === undefined) return high.bytesPerSecond;
  const share = Math.log(flightBytes / low.flightBytes) / Math.log(high.flightBytes / low.flightBytes);
  return low.bytesPerSecond * (high.bytesPerSecond / low.bytesPerSecond) ** share;
}

/** What so many misses add to a layer: between measured counts in proportion, beyond them by the last two. Pure. */
export function missCost(misses: readonly MissCost[], missCount: number): MissCost {
  const above = Math.max(
    1,
    misses.findIndex((cost) => cost.missCount >= missCount),
  );
  const isBeyond = missCount > (misses.at(-1)?.missCount ?? 0);
  const high = misses[isBeyond ? misses.length - 1 : above]!;
  const low = misses[isBeyond ? misses.length - 2 : above - 1]!;
  const share = (missCount - low.missCount) / (high.missCount - low.missCount);
  const at = (pick: (cost: MissCost) => number): number =>
    Math.max(0, pick(low) + share * (pick(high) - pick(low)));
  return eachFigure(missCount, at);
}

/** What misses add of which `slottedCount` take a slot and the others find none. Pure. */
export function mixedMissCost(
  { misses, overflows }: Pick<EngineSpeed["sparse"], "misses" | "overflows">,
  missCount: number,
  slottedCount: number,
): MissCost {
  const share = missCount > 0 ? Math.min(1, slottedCount / missCount) : 1;
  const [slotted, overflow] = [missCost(misses, missCount), missCost(overflows, missCount)];
  const mix = (pick: (cost: MissCost) => number): number =>
    pick(overflow) + share * (pick(slotted) - pick(overflow));
  return eachFigure(missCount, mix);
}

function eachFigure(missCount: number, figure: (pick: (cost: MissCost) => number) => number): MissCost {
  return {
    missCount,
    waitMs: figure(({ waitMs }) => waitMs),
    streamedMs: figure(({ streamedMs }) => streamedMs),
    cacheMs: figure(({ cacheMs }) => cacheMs),
    computeMs: figure(({ computeMs }) => computeMs),
  };
}
