import { ADDRESS_UNIT_BYTES, type KernelOp } from "@flashlm/contracts";
import { FAULT_ADDRESS } from "../../../assembly/layout.js";
import { faultOf } from "../runner.js";
import type { Bench } from "./bench.js";
import { addressOf } from "./jobs.js";
import type { Segments } from "./segments.js";
import { WordList } from "./word-list.js";

type OpOf<Name extends KernelOp["op"]> = Extract<KernelOp, { op: Name }>;

/** Records of a list that are brought into one op. */
export const LIST_LENGTH_MAX = 4096;
const LINE_BYTES = 64;
/** Lines that lists and operands may leave partly unused. */
const SLACK_BYTES = 16 * LINE_BYTES;

/** Address of a record. @throws KERNEL_SHAPE where it has none or would reach beyond its memory. */
export function recordAt(segments: Segments, unit: number, lengthBytes: number): number {
  const address = unit * ADDRESS_UNIT_BYTES;
  if (unit === 0 || !segments.holds(address, lengthBytes)) throw faultOf(FAULT_ADDRESS);
  return address;
}

/** Ops over lists of records that lie in several memories: what is independent is done memory by memory. */
export class RecordLists {
  readonly #bench: Bench;
  readonly #segments: Segments;
  /** Places in the list, and addresses of their records, of what is done next. */
  readonly #places: Uint32Array = new Uint32Array(LIST_LENGTH_MAX);
  readonly #addresses: Float64Array = new Float64Array(LIST_LENGTH_MAX);

  constructor(bench: Bench) {
    this.#bench = bench;
    this.#segments = bench.segments;
  }

  /** Checksums of each memory's records, in it. */
  checksums(op: OpOf<"crc32c">): void {
    const segments = this.#segments;
    const [order, addresses] = [
      new WordList(segments, op.order.offsetBytes),
      new WordList(segments, op.addresses.offsetBytes),
    ];
    const checksums = new WordList(segments, op.checksums.offsetBytes);
    const recordOf = (place: number): number =>
      recordAt(segments, addresses.at(order.at(place)), op.lengthBytes);
    const lengthMax = Math.floor((this.#bench.roomBytes - SLACK_BYTES) / 12);
    this.#eachMemory(op, lengthMax, recordOf, (count) => {
      const bench = this.#bench;
      const results = bench.list(count);
      const lists = this.#lists(count);
      bench.run({ ...op, ...lists, checksums: results.handle }, 1);
      for (let i = 0; i < count; i++) checksums.set(this.#places[i]!, results.words[i]!);
    });
  }

  /** Activations of each memory's records, in it. */
  activations(op: OpOf<"ffnActivations">, tokenCount: number): void {
    const bench = this.#bench;
    const sourceBytes = op.layout.hiddenSize * 4;
    const tokensAtOnce = Math.max(1, Math.min(tokenCount, Math.floor(bench.roomBytes / 2 / sourceBytes)));
    for (let first = 0; first < tokenCount; first += tokensAtOnce)
      this.#activateTokens(op, first, Math.min(tokensAtOnce, tokenCount - first));
  }

  #activateTokens(op: OpOf<"ffnActivations">, firstToken: number, tokenCount: number): void {
    const segments = this.#segments;
    const bench = this.#bench;
    const { hiddenSize, strideBytes } = op.layout;
    const [order, addresses] = [
      new WordList(segments, op.order.offsetBytes),
      new WordList(segments, op.addresses.offsetBytes),
    ];
    const recordOf = (place: number): number =>
      recordAt(segments, addresses.at(order.at(place)), strideBytes);
    // Per record: its address, its number, two biases; per token of it a result and a byte of the mask.
    const roomBytes = bench.roomBytes - SLACK_BYTES - tokenCount * hiddenSize * 4;
    const lengthMax = Math.floor(roomBytes / (16 + 5 * tokenCount));
    const source = op.source.offsetBytes + firstToken * hiddenSize * 4;
    segments.check(source, tokenCount * hiddenSize * 4);
    this.#eachMemory(op, lengthMax, recordOf, (count) => {
      const lists = this.#lists(count);
      for (let i = 0; i < count; i++) this.#places[i] = order.at(this.#places[i]!);
      const activation = bench.reserve(tokenCount * count * 4);
      bench.run(
        {
          ...op,
          ...lists,
          ids: lists.order,
          source: bench.bring(source, tokenCount * hiddenSize * 4),
          activation,
          activationStride: count,
          ...this.#perNeuron(op, count, firstToken, tokenCount),
        },
        tokenCount,
      );
      const target = segments.indexOf(op.activation.offsetBytes);
      const first = segments.localOf(op.activation.offsetBytes) / 4 + firstToken * op.activationStride;
      const floats = segments.floats[target]!;
      const results = segments.floats[bench.index]!.subarray(activation.offsetBytes / 4);
      for (let token = 0; token < tokenCount; token++) {
        const row = first + token * op.activationStride;
        for (let i = 0; i < count; i++) floats[row + this.#places[i]!] = results[token * count + i]!;
      }
    });
  }

  /** Mask and biases of the listed positions, in their order. */
  #perNeuron(
    op: OpOf<"ffnActivations">,
    count: number,
    firstToken: number,
    tokenCount: number,
  ): Partial<Pick<OpOf<"ffnActivations">, "mask" | "gateBias" | "upBias">> {
    const segments = this.#segments;
    const bench = this.#bench;
    const ids = new WordList(segments, op.ids.offsetBytes);
    const bias = (name: "gateBias" | "upBias"): object => {
      const base = op[name];
      if (base === undefined) return {};
      const values = new WordList(segments, addressOf(segments, base));
      const { handle, words } = bench.list(count);
      for (let i = 0; i < count; i++) words[i] = values.at(ids.at(this.#places[i]!));
      return { [name]: handle };
    };
    if (op.mask === undefined) return { ...bias("gateBias"), ...bias("upBias") };
    const base = bench.reserve(tokenCount * count);
    const { offsetBytes } = op.mask.base;
    const from = segments.bytes[segments.indexOf(offsetBytes)]!;
    const to = segments.bytes[bench.index]!;
    for (let token = 0; token < tokenCount; token++) {
      const row = segments.localOf(offsetBytes) + (firstToken + token) * op.mask.stride;
      for (let i = 0; i < count; i++)
        to[base.offsetBytes + token * count + i] = from[row + ids.at(this.#places[i]!)]!;
    }
    return { mask: { base, stride: count }, ...bias("gateBias"), ...bias("upBias") };
  }

  /** Calls `run` for the listed records of each memory, at most `lengthMax` at a time, with the bench open there. */
  #eachMemory(
    range: Pick<OpOf<"crc32c">, "orderBegin" | "orderEnd">,
    lengthMax: number,
    recordOf: (place: number) => number,
    run: (count: number) => void,
  ): void {
    const segments = this.#segments;
    const [begin, end] = [
      segments.word(range.orderBegin.offsetBytes),
      segments.word(range.orderEnd.offsetBytes),
    ];
    const most = Math.max(1, Math.min(LIST_LENGTH_MAX, lengthMax));
    for (let index = 0; index < segments.bytes.length; index++) {
      let count = 0;
      for (let place = begin; place < end; place++) {
        const address = recordOf(place);
        if (segments.indexOf(address) !== index) continue;
        this.#places[count] = place;
        this.#addresses[count++] = address;
        if (count < most) continue;
        this.#bench.open(index);
        run(count);
        count = 0;
      }
      if (count === 0) continue;
      this.#bench.open(index);
      run(count);
    }
  }

  /** The listed records, numbered from 0, as the kernels take them. */
  #lists(count: number): Pick<OpOf<"crc32c">, "addresses" | "order" | "orderBegin" | "orderEnd"> {
    const bench = this.#bench;
    const [addresses, order] = [bench.list(count), bench.list(count)];
    for (let i = 0; i < count; i++) {
      addresses.words[i] = this.#segments.localOf(this.#addresses[i]!) / ADDRESS_UNIT_BYTES;
      order.words[i] = i;
    }
    const range = { orderBegin: bench.word(0), orderEnd: bench.word(count) };
    return { addresses: addresses.handle, order: order.handle, ...range };
  }
}
