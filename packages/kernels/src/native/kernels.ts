import type {
  KernelMemory,
  KernelOp,
  KernelProgram,
  KernelSet,
  KernelSetOptions,
  StartedProgram,
} from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { ArenaMemory } from "../arena-memory.js";
import { checkOps } from "../check-ops.js";
import { checkNativeOptions } from "../limits.js";
import { loadNativeAddon, type NativeAddon, type NativeHandle, variantsOf } from "./addon.js";
import { allocateAligned } from "./arena.js";
import { encodeNativeProgram } from "./encode.js";

/** Offset 0 names no memory, as in the other targets. */
const HEAP_BYTES = 64;
/** Arenas from here on ask for large pages; smaller ones gain nothing and would be rounded up. */
const LARGE_PAGES_FROM_BYTES = 64 * 2 ** 20;
/** Bytes of the view that shows the addon where the arena ends. */
const END_BYTES = 64;

/** `KernelSetOptions` and, for tests and comparisons, the instruction set. */
export interface NativeKernelsOptions extends KernelSetOptions {
  /** "avx512-vnni", "avx512", "avx2", "neon-dot" or "neon"; the fastest that the machine has unless given. */
  readonly variant?: string;
}

class NativeProgram implements KernelProgram {
  constructor(
    readonly opCount: number,
    readonly owner: NativeKernels,
    readonly index: number,
  ) {}
}

// Faults of native/codes.h.
const FAULTS: Readonly<Record<number, string>> = {
  1: "gatherRows: expected row ids below the table's rowCount, got a larger one",
  2: "expected record addresses (units of 16 bytes) whose record lies within kernel memory, got 0 or one beyond it",
  3: "an op reached beyond kernel memory; a token count, position, id, list length or address word is wrong",
};

/** Kernels in C++ on threads of the addon's own. */
export class NativeKernels implements KernelSet {
  readonly contractVersion = 1;
  readonly target: string;
  readonly threadCount: number;
  readonly memory: KernelMemory;
  readonly #addon: NativeAddon;
  readonly #handle: NativeHandle;
  readonly #columnCountMax: number | undefined;
  readonly #started: StartedProgram = { finish: () => this.#finish() };
  /** Absent where there is no other thread. */
  readonly start?: (program: KernelProgram) => StartedProgram;
  #isStarted = false;
  #closed = false;

  /** @throws KERNEL_MEMORY; KERNEL_LOAD where threads cannot be started. */
  constructor(options: KernelSetOptions, addon: NativeAddon, variant: string) {
    const { memoryBytes, threadCount } = options;
    const { buffer, skewBytes } = allocateAligned(memoryBytes);
    this.target = `native-${variant}`;
    this.threadCount = threadCount;
    this.memory = new ArenaMemory(buffer, memoryBytes, HEAP_BYTES, {
      skewBytes,
      copyBytes: (toBytes, fromBytes, lengthBytes) => {
        this.#checkOpen();
        addon.copy(this.#handle, toBytes, fromBytes, lengthBytes);
      },
    });
    this.#addon = addon;
    this.#columnCountMax = options.columnCountMax;
    if (threadCount > 1) this.start = (program) => this.#start(program);
    const first = new Uint8Array(buffer, skewBytes, END_BYTES);
    const last = new Uint8Array(buffer, skewBytes + memoryBytes - END_BYTES, END_BYTES);
    try {
      this.#handle = addon.create(first, last, threadCount, variant, memoryBytes >= LARGE_PAGES_FROM_BYTES);
    } catch (error) {
      const reason = `could not start the native kernels with ${threadCount} threads: ${(error as Error).message}`;
      throw new FlashlmError("KERNEL_LOAD", reason, { threadCount }, error);
    }
  }

  supports(): boolean {
    return true;
  }

  compile(ops: readonly KernelOp[]): KernelProgram {
    this.#checkFree();
    checkOps(ops, this.memory.arenas[0]!.lengthBytes, this.#columnCountMax);
    const index = this.#addon.compile(this.#handle, encodeNativeProgram(ops));
    return new NativeProgram(ops.length, this, index);
  }

  run(program: KernelProgram): void {
    this.#checkFree();
    checkFault(this.#addon.run(this.#handle, this.#indexOf(program)));
  }

  #start(program: KernelProgram): StartedProgram {
    this.#checkFree();
    this.#addon.start(this.#handle, this.#indexOf(program));
    this.#isStarted = true;
    return this.#started;
  }

  #finish(): void {
    if (!this.#isStarted) throw new FlashlmError("KERNEL_SHAPE", "expected a started program, got none");
    this.#isStarted = false;
    checkFault(this.#addon.finish(this.#handle));
  }

  /** Reads a range of the arena on all threads and does nothing else: what benchmarks compare ops with. */
  readRange(offsetBytes: number, lengthBytes: number): void {
    this.#checkFree();
    this.#addon.readRange(this.#handle, offsetBytes, lengthBytes);
  }

  /** Does `count` fused multiply-adds of vectors on every thread at once; returns the f32 operations of one thread. */
  multiplyAdd(count: number): number {
    this.#checkFree();
    return this.#addon.multiplyAdd(this.#handle, count);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#isStarted = false;
    this.#addon.close(this.#handle);
  }

  #indexOf(program: KernelProgram): number {
    if (program instanceof NativeProgram && program.owner === this) return program.index;
    throw new FlashlmError("KERNEL_SHAPE", "expected a program that this kernel set compiled, got another's");
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new FlashlmError(
      "KERNEL_LOAD",
      "this kernel set cannot be used any more: it is closed; make a new one",
    );
  }

  #checkFree(): void {
    this.#checkOpen();
    if (this.#isStarted)
      throw new FlashlmError("KERNEL_SHAPE", "a program was started and goes on: expected its finish first");
  }
}

function checkFault(fault: number): void {
  if (fault !== 0) throw new FlashlmError("KERNEL_SHAPE", FAULTS[fault] ?? `fault ${fault}`);
}

function chooseVariant(addon: NativeAddon, wanted: string | undefined): string {
  const variants = variantsOf(addon);
  const names = variants.map(({ name }) => name).join(", ");
  const chosen = variants.find(({ name, missing }) =>
    wanted === undefined ? missing === "" : name === wanted,
  );
  if (chosen?.missing === "") return chosen.name;
  const reasons = variants.map(({ name, missing }) => `${name} needs ${missing}`);
  const reason =
    wanted === undefined
      ? `this processor can run none of the native kernels: ${reasons.join("; ")}`
      : `expected one of ${names || "no variants"}, got "${wanted}"${chosen ? `, and this processor lacks ${chosen.missing}` : ""}`;
  throw new FlashlmError("KERNEL_LOAD", reason, { variants: variants.map(({ name }) => name) });
}

/**
 * Kernels in C++ through Node-API, for the fastest instruction set that the processor has. `threadCount - 1` threads are started; the
 * calling thread is the other one and blocks in `run`. Memory is one shared arena, id 0, up to 64 GiB, address space until touched.
 * @throws KERNEL_LOAD (no addon and no compiler, or the processor lacks what all variants need), KERNEL_MEMORY, KERNEL_NOT_SUPPORTED.
 */
export async function createNativeKernels(options: NativeKernelsOptions): Promise<KernelSet> {
  checkNativeOptions(options);
  const { addon, reason } = await loadNativeAddon();
  if (addon === undefined) throw new FlashlmError("KERNEL_LOAD", `there are no native kernels: ${reason}`);
  return new NativeKernels(options, addon, chooseVariant(addon, options.variant));
}
