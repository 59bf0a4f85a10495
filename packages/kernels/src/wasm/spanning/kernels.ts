import type { KernelMemory, KernelOp, KernelProgram, KernelSet, KernelSetOptions } from "@flashlm/contracts";
import { PROGRAM_BYTES } from "../../../assembly/layout.js";
import { checkOps } from "../../check-ops.js";
import { type Crew, checkOpCount, checkOwner, Runner } from "../runner.js";
import { Bench } from "./bench.js";
import { FarOps } from "./far-ops.js";
import { type Placement, SpanningMemory } from "./memory.js";
import { nearCommand, type Step, stepsOf } from "./program.js";
import { type SegmentSizes, Segments } from "./segments.js";

class SpanningProgram implements KernelProgram {
  constructor(
    readonly opCount: number,
    readonly owner: SpanningKernels,
    readonly steps: readonly Step[],
  ) {}
}

/**
 * WASM kernels over an arena of several memories. Ops whose operands all lie in the first run there together, as programs of one memory do;
 * every other op runs in the memory that holds most of what it needs, on the same threads.
 */
export class SpanningKernels implements KernelSet {
  readonly contractVersion = 1;
  readonly target: string;
  readonly threadCount: number;
  readonly memory: KernelMemory;
  readonly #segments: Segments;
  readonly #columnCountMax: number | undefined;
  readonly #runner: Runner;
  readonly #farOps: FarOps;
  /** Commands that are to run in the first memory: their count, then they. */
  readonly #near: Uint32Array = new Uint32Array(PROGRAM_BYTES / 4);
  #nearLength = 1;

  constructor(options: KernelSetOptions, crew: Crew, sizes: SegmentSizes, placement: Placement) {
    this.target = crew.target;
    this.threadCount = options.threadCount;
    this.#segments = new Segments(crew.memories, sizes.segmentBytes);
    this.memory = new SpanningMemory(this.#segments, sizes, options.memoryBytes, placement);
    this.#columnCountMax = options.columnCountMax;
    this.#runner = new Runner(crew);
    this.#farOps = new FarOps(new Bench(this.#segments, sizes, crew.instances, this.#runner));
  }

  supports(): boolean {
    return true;
  }

  compile(ops: readonly KernelOp[]): KernelProgram {
    this.#runner.checkUsable();
    checkOps(ops, this.memory.arenas[0]!.lengthBytes, this.#columnCountMax);
    checkOpCount(ops.length);
    return new SpanningProgram(ops.length, this, stepsOf(ops, this.#segments.segmentBytes));
  }

  run(program: KernelProgram): void {
    this.#runner.checkUsable();
    checkOwner(program, SpanningProgram, this);
    this.#clear();
    for (const step of program.steps) {
      if (step.waits) this.#flush();
      const command = nearCommand(step, this.#segments);
      if (command !== null) {
        this.#add(command);
        continue;
      }
      this.#flush();
      this.#farOps.run(step.op);
    }
    this.#flush();
  }

  close(): Promise<void> {
    return this.#runner.close();
  }

  #clear(): void {
    this.#near[0] = 0;
    this.#nearLength = 1;
  }

  #add(command: readonly number[]): void {
    this.#near[0]!++;
    this.#near.set(command, this.#nearLength);
    this.#nearLength += command.length;
  }

  /** Runs what has been collected for the first memory. */
  #flush(): void {
    if (this.#near[0] === 0) return;
    this.#runner.run(this.#near.subarray(0, this.#nearLength), true);
    this.#clear();
  }
}
