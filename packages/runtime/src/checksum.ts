import {
  ADDRESS_UNIT_BYTES,
  type BundleTensor,
  FlashlmError,
  type KernelProgram,
  type KernelSet,
} from "@flashlm/contracts";

/** Verifies tensors in kernel memory with the kernels' CRC32C. One program per distinct length. */
export class TensorVerifier {
  readonly #kernels: KernelSet;
  readonly #lists: { base: ReturnType<KernelSet["memory"]["allocate"]>; words: Uint32Array };
  readonly #programs = new Map<number, KernelProgram>();

  constructor(kernels: KernelSet) {
    this.#kernels = kernels;
    const base = kernels.memory.allocate(32);
    this.#lists = { base, words: kernels.memory.words(base, 5) };
  }

  /** @throws BUNDLE_CHECKSUM when the bytes at `offsetBytes` are not those that were written. */
  async verify(tensor: BundleTensor, offsetBytes: number): Promise<void> {
    const { words } = this.#lists;
    words[0] = offsetBytes / ADDRESS_UNIT_BYTES; // address
    words[1] = 0; // order
    words[2] = 0; // begin
    words[3] = 1; // end
    const pending = this.#kernels.run(this.#program(tensor.lengthBytes));
    if (pending) await pending;
    if (words[4] === tensor.crc32c) return;
    throw new FlashlmError(
      "BUNDLE_CHECKSUM",
      `Expected checksum ${tensor.crc32c} for tensor ${tensor.name} but its bytes give ${words[4]}: the file was changed or the disk lost a bit. Make the bundle again.`,
      { tensor: tensor.name },
    );
  }

  #program(lengthBytes: number): KernelProgram {
    const known = this.#programs.get(lengthBytes);
    if (known) return known;
    const { arenaId, offsetBytes } = this.#lists.base;
    const word = (index: number): { arenaId: number; offsetBytes: number } => ({
      arenaId,
      offsetBytes: offsetBytes + 4 * index,
    });
    const program = this.#kernels.compile([
      {
        op: "crc32c",
        addresses: word(0),
        order: word(1),
        orderBegin: word(2),
        orderEnd: word(3),
        lengthBytes,
        checksums: word(4),
      },
    ]);
    this.#programs.set(lengthBytes, program);
    return program;
  }
}
