/// <reference path="./web-assembly.d.ts" />
import type { KernelProgram, KernelSet } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import * as layout from "../../assembly/layout.js";
import type { KernelExports } from "./imports.js";
import type { WorkerPool } from "./worker-pool.js";

/** Fault codes of the kernels as errors. */
export function faultOf(code: number): FlashlmError {
  if (code === layout.FAULT_ROW_ID) {
    return new FlashlmError(
      "KERNEL_SHAPE",
      "gatherRows: expected row ids below the table's rowCount, got a larger one",
    );
  }
  return new FlashlmError(
    "KERNEL_SHAPE",
    "expected record addresses (units of 16 bytes) whose record lies within kernel memory, got 0 or one beyond it",
  );
}

/** Refuses programs with more ops than the kernels have room for. @throws KERNEL_NOT_SUPPORTED. */
export function checkOpCount(opCount: number): void {
  if (opCount <= layout.OP_COUNT_MAX) return;
  throw new FlashlmError(
    "KERNEL_NOT_SUPPORTED",
    `expected at most ${layout.OP_COUNT_MAX} ops in a program but received ${opCount}; compile two programs`,
    { opCount },
  );
}

/** Narrows a program to what `owner` compiled. @throws KERNEL_SHAPE where it is another's. */
export function checkOwner<Program extends KernelProgram & { readonly owner: KernelSet }>(
  program: KernelProgram,
  kind: new (...args: never[]) => Program,
  owner: KernelSet,
): asserts program is Program {
  if (program instanceof kind && program.owner === owner) return;
  throw new FlashlmError("KERNEL_SHAPE", "expected a program that this kernel set compiled, got another's");
}

/** Threads of a set and the memories they work in; programs run from the first of these. */
export interface Crew {
  /** What the set is called. */
  readonly target: string;
  readonly memories: readonly WebAssembly.Memory[];
  /** Instances of the calling thread, one per memory. */
  readonly instances: readonly KernelExports[];
  readonly workers: WorkerPool;
}

/** Runs words of programs on the calling thread and all workers, and remembers when they cannot be used any more. */
export class Runner {
  readonly #crew: Crew;
  readonly #words: Int32Array;
  /** Memories beside the first, whose faults `run` of the first does not see. */
  readonly #others: readonly Int32Array[];
  #loaded: Uint32Array | undefined;
  #broken = "";

  constructor(crew: Crew) {
    this.#crew = crew;
    const [words, ...others] = crew.memories.map(({ buffer }) => new Int32Array(buffer));
    this.#words = words!;
    this.#others = others;
  }

  /** Runs a program. Words that ran last are taken to be unchanged, unless `isNew`. @throws KERNEL_SHAPE. */
  run(program: Uint32Array, isNew: boolean = false): void {
    // No thread reads the words of a program that is over.
    if (isNew || program !== this.#loaded) this.#words.set(program, layout.PROGRAM_BASE / 4);
    this.#loaded = program;
    let code: number;
    try {
      code = this.#crew.instances[0]!.run();
    } catch (error) {
      this.#breakDown("an op reached beyond kernel memory; a token count, position or address word is wrong");
      throw new FlashlmError("KERNEL_SHAPE", this.#broken, {}, error);
    }
    if (code === -1) {
      this.#breakDown("a kernel thread stopped; an op reached beyond kernel memory there");
      throw new FlashlmError("KERNEL_SHAPE", this.#broken);
    }
    for (const words of this.#others) code = Atomics.exchange(words, layout.FAULT / 4, 0) || code;
    if (code !== 0) throw faultOf(code);
  }

  /** Ends the threads; idempotent. */
  async close(): Promise<void> {
    if (this.#broken === "") this.#broken = "the kernel set is closed";
    await this.#crew.workers.close();
  }

  /** @throws KERNEL_LOAD where the set was closed or has broken down. */
  checkUsable(): void {
    if (this.#broken === "") return;
    throw new FlashlmError(
      "KERNEL_LOAD",
      `this kernel set cannot be used any more: ${this.#broken}; make a new one`,
    );
  }

  #breakDown(reason: string): void {
    this.#broken = reason;
    Atomics.store(this.#words, layout.FAILED / 4, 1);
    Atomics.notify(this.#words, layout.SERIAL / 4);
  }
}
