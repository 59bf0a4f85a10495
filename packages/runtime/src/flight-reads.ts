import {
  ADDRESS_UNIT_BYTES,
  assert,
  type BundleIndex,
  type FlashReader,
  type PendingReads,
  ReadBatch,
  type ReadPlanner,
  type ReadPriority,
  TARGET_ANYWHERE,
  WantedReads,
} from "@flashlm/contracts";
import type { Flight } from "./flight.js";
import type { MemoryCopy } from "./memory-windows.js";

/** Index of `neurons.safetensors` among the reader's files. */
const NEURON_FILE_INDEX = 1;

/** What reads of records are made with. */
export interface FlightReadsParts {
  readonly bundle: BundleIndex;
  readonly reader: FlashReader;
  readonly planner: ReadPlanner;
  /** Copies within kernel memory. */
  readonly copy: MemoryCopy;
  /** Staging of each flight. */
  readonly flightBytes: number;
}

/** Turns the records that a flight wants into planned reads, and what was read into addresses. One flight at a time. */
export class FlightReads {
  readonly #parts: FlightReadsParts;
  readonly #wanted: WantedReads;
  readonly #batch: ReadBatch;

  constructor(parts: FlightReadsParts) {
    this.#parts = parts;
    const neuronCount = parts.bundle.manifest.model.ffn.neuronCount;
    this.#wanted = new WantedReads(neuronCount);
    this.#batch = new ReadBatch(neuronCount);
  }

  /** Extents wanted so far. */
  get extentCount(): number {
    return this.#wanted.count;
  }

  /** Begins another flight. */
  clear(): void {
    this.#wanted.clear();
  }

  /**
   * Adds a record. Neighbours without a slot become one extent: in dense runs nearly all do, and lists of extents are shorter than
   * lists of records.
   *
   * @param position - of the record in the flight.
   * @param target - offset of its slot in kernel memory, or TARGET_ANYWHERE.
   * @param isNeighbour - it follows the record that was added last.
   */
  want(flight: Flight, position: number, offsetBytes: number, target: number, isNeighbour: boolean): void {
    const { strideBytes } = this.#parts.bundle.manifest.record;
    const last = this.#wanted.count - 1;
    const joins =
      isNeighbour &&
      last >= 0 &&
      target === TARGET_ANYWHERE &&
      flight.wantedTarget[last] === TARGET_ANYWHERE &&
      this.#wanted.lengthBytes[last]! + strideBytes <= this.#parts.planner.readBytesMax;
    if (joins) {
      this.#wanted.lengthBytes[last]! += strideBytes;
      flight.wantedRecords[last]!++;
      return;
    }
    const index = this.#wanted.push(offsetBytes, strideBytes, target);
    flight.wantedPosition[index] = position;
    flight.wantedRecords[index] = 1;
    flight.wantedTarget[index] = target;
  }

  /** Plans what is wanted. What that takes of the staging is known only then: the last extents are dropped until it fits. Returns how many records were. */
  plan(flight: Flight): number {
    const { flightBytes, planner, reader } = this.#parts;
    const fileBytes = reader.files[NEURON_FILE_INDEX]!.sizeBytes;
    let droppedCount = 0;
    planner.plan(this.#wanted, fileBytes, flight.plan);
    while (flight.plan.stagingBytes > flightBytes && this.#wanted.count > 1) {
      const fitting = Math.floor((this.#wanted.count * flightBytes) / (1.1 * flight.plan.stagingBytes));
      const kept = Math.max(1, fitting);
      for (let extent = kept; extent < this.#wanted.count; extent++)
        droppedCount += flight.wantedRecords[extent]!;
      this.#wanted.count = kept;
      planner.plan(this.#wanted, fileBytes, flight.plan);
    }
    return droppedCount;
  }

  /** Starts the planned reads. */
  submit(flight: Flight, priority: ReadPriority): PendingReads {
    const { plan, staging } = flight;
    assert(plan.stagingBytes <= this.#parts.flightBytes, "a chunk's reads fit the staging of its flight");
    this.#batch.clear();
    for (let read = 0; read < plan.readCount; read++) {
      const direct = plan.readTargetOffsetBytes[read]!;
      const offsetBytes =
        direct === TARGET_ANYWHERE ? staging.offsetBytes + plan.stagingOffsetBytes[read]! : direct;
      this.#batch.push(NEURON_FILE_INDEX, plan.readOffsetBytes[read]!, plan.readLengthBytes[read]!, {
        arenaId: staging.arenaId,
        offsetBytes,
      });
    }
    flight.placedReads = 0;
    return this.#parts.reader.submit(this.#batch, { priority });
  }

  /** Lets the device go on with reads that waited for others to end, and places what has landed, in the order in which it was asked for. Never blocks. */
  placeLanded(flight: Flight): void {
    const { pending, plan } = flight;
    if (!pending) return;
    const first = flight.placedReads;
    // Whether a read that is under way has landed, the reader can only say after it has looked; then it also submits what waits.
    while (flight.placedReads < plan.readCount && pending.landed(flight.placedReads)) flight.placedReads++;
    this.#place(flight, first, flight.placedReads);
  }

  /** After the landing of all that is needed: places what has not been placed yet. */
  placeRest(flight: Flight): void {
    this.#place(flight, flight.placedReads, flight.plan.readCount);
  }

  /** Records with a slot are copied there unless they were read in place; the others stay in the staging. Fills the addresses. */
  #place(flight: Flight, firstRead: number, endRead: number): void {
    const { plan } = flight;
    const { strideBytes } = this.#parts.bundle.manifest.record;
    for (let read = firstRead; read < endRead; read++) {
      const direct = plan.readTargetOffsetBytes[read] !== TARGET_ANYWHERE;
      const stagedAt = flight.staging.offsetBytes + plan.stagingOffsetBytes[read]!;
      for (let piece = plan.pieceStart[read]!; piece < plan.pieceStart[read + 1]!; piece++) {
        const wanted = plan.pieceWanted[piece]!;
        const slotAt = flight.wantedTarget[wanted]!;
        const landedAt = stagedAt + plan.pieceOffsetBytes[piece]!;
        if (slotAt !== TARGET_ANYWHERE && !direct) this.#parts.copy(slotAt, landedAt, strideBytes);
        const at = (slotAt === TARGET_ANYWHERE ? landedAt : slotAt) / ADDRESS_UNIT_BYTES;
        const first = flight.wantedPosition[wanted]!;
        for (let record = 0; record < flight.wantedRecords[wanted]!; record++)
          flight.addresses[first + record] = at + record * (strideBytes / ADDRESS_UNIT_BYTES);
      }
    }
  }
}
