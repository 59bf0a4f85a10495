import {
  ADDRESS_UNIT_BYTES,
  type BundleTensor,
  FlashlmError,
  type KernelProgram,
  type KernelSet,
} from "@flashlm/contracts";

/** CRC32C's polynomial, lowest power in the highest bit. */
const POLYNOMIAL = 0x82f63b78;

/** Product of two polynomials over GF(2), modulo CRC32C's. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 31; bit >= 0; bit--) {
    if ((a >>> bit) & 1) product ^= b;
    b = b & 1 ? (b >>> 1) ^ POLYNOMIAL : b >>> 1;
  }
  return product >>> 0;
}

/** CRC32C of bytes in two parts, from the parts' own: the first is multiplied by x^(8 * length of the second). */
export function joinChecksums(first: number, second: number, secondLengthBytes: number): number {
  let power = 0x00800000; // x^8
  let shift = 0x80000000; // x^0
  for (let rest = secondLengthBytes; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) shift = multiply(power, shift);
    power = multiply(power, power);
  }
  return (multiply(shift, first) ^ second) >>> 0;
}

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
    this.compare(tensor, await this.checksum(offsetBytes, tensor.lengthBytes));
  }

  /** CRC32C of bytes in kernel memory. */
  async checksum(offsetBytes: number, lengthBytes: number): Promise<number> {
    const { words } = this.#lists;
    words[0] = offsetBytes / ADDRESS_UNIT_BYTES; // address
    words[1] = 0; // order
    words[2] = 0; // begin
    words[3] = 1; // end
    const pending = this.#kernels.run(this.#program(lengthBytes));
    if (pending) await pending;
    return words[4]!;
  }

  /** @throws BUNDLE_CHECKSUM when that is not the checksum of what was written. */
  compare(tensor: BundleTensor, checksum: number): void {
    if (checksum === tensor.crc32c) return;
    throw new FlashlmError(
      "BUNDLE_CHECKSUM",
      `Expected checksum ${tensor.crc32c} for tensor ${tensor.name} but its bytes give ${checksum}: the file was changed or the disk lost a bit. Make the bundle again.`,
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
