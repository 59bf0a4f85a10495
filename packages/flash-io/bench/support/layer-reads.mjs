import { ReadBatch, ReadPlan, TARGET_ANYWHERE, WantedReads } from "@flashlm/contracts";
import { createReadPlanner } from "@flashlm/flash-io";

/** One request per record; the planner as it is without a profile; the planner with one. */
export const WAYS = ["records", "defaults", "profile"];

/** As in the engine: so many chunks of records are under way, each with a staging of its own. */
const FLIGHTS = 4;
const STAGING_BYTES = 8 * 1024 * 1024;
/** What a chunk's records should take of the staging, so that gaps find room. */
const CHUNK_BYTES = 4 * 1024 * 1024;
const CHUNK_READS_MAX = 4096;
const CHECKED_RECORDS = 64;

/** Numbers from 0 to 1 by seed. */
export function createRandom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}

/** Loads selections of a layer's records into slots, as an engine does: chunk by chunk, several in flight. */
export class LayerReads {
  #reader;
  #planners;
  #slots;
  #stagings;
  #flights;
  #slotBytes;

  constructor(reader, profile, slotBytes) {
    const { alignmentBytes, inFlightMax } = reader.capabilities;
    this.#reader = reader;
    this.#planners = {
      defaults: createReadPlanner({ alignmentBytes }),
      profile: createReadPlanner({ alignmentBytes, inFlightMax, profile }),
    };
    // One arena, as the engine has: reads and copies name places in it.
    this.#slotBytes = Math.ceil(slotBytes / 4096) * 4096;
    this.#slots = reader.allocateTarget(this.#slotBytes + FLIGHTS * STAGING_BYTES);
    this.#stagings = Array.from({ length: FLIGHTS }, (_, flight) => this.#slotBytes + flight * STAGING_BYTES);
    this.#flights = Array.from({ length: FLIGHTS }, () => ({
      wanted: new WantedReads(CHUNK_READS_MAX),
      plan: new ReadPlan(CHUNK_READS_MAX),
      batch: new ReadBatch(CHUNK_READS_MAX),
      pending: undefined,
    }));
    this.#slots.bytes.fill(0);
  }

  get gapBytesMax() {
    return this.#planners.profile.gapBytesMax;
  }

  /** Loads the records `ids` once. Returns what it took; throws when a record is not what the file holds. */
  run(way, ids, recordBytes, random) {
    const slotOf = shuffled(ids.length, random);
    const before = this.#reader.stats();
    const chunkRecords = Math.min(CHUNK_READS_MAX, Math.floor(CHUNK_BYTES / (recordBytes + 1024)));
    let planMs = 0;
    const startedMs = performance.now();
    let begin = 0;
    for (let turn = 0; begin < ids.length; turn = (turn + 1) % FLIGHTS) {
      const flight = this.#flights[turn];
      this.#land(flight, recordBytes);
      const end = Math.min(begin + chunkRecords, ids.length);
      if (way === "records") {
        this.#collect(flight, ids, slotOf, begin, end, recordBytes);
        this.#submitRecords(flight);
      } else {
        const planStartMs = performance.now();
        const planned = this.#plan(flight, this.#planners[way], ids, slotOf, begin, end, recordBytes);
        planMs += performance.now() - planStartMs;
        this.#submitPlan(flight, this.#stagings[turn]);
        begin = planned;
        continue;
      }
      begin = end;
    }
    for (const flight of this.#flights) this.#land(flight, recordBytes);
    const ms = performance.now() - startedMs;
    this.#check(ids, slotOf, recordBytes, random);
    const after = this.#reader.stats();
    return {
      ms,
      planMs,
      wantedBytes: ids.length * recordBytes,
      requestCount: after.requestCount - before.requestCount,
      readBytes: after.readBytes - before.readBytes,
    };
  }

  #collect(flight, ids, slotOf, begin, end, recordBytes) {
    const base = this.#slots.handle.offsetBytes;
    flight.wanted.clear();
    for (let index = begin; index < end; index++) {
      flight.wanted.push(ids[index] * recordBytes, recordBytes, base + slotOf[index] * recordBytes);
    }
  }

  /** Plans as many records as the staging takes; returns the first that is left. */
  #plan(flight, planner, ids, slotOf, begin, end, recordBytes) {
    for (let last = end; ; last = begin + Math.max(1, (last - begin) >> 1)) {
      this.#collect(flight, ids, slotOf, begin, last, recordBytes);
      planner.plan(flight.wanted, this.#reader.files[0].sizeBytes, flight.plan);
      if (flight.plan.stagingBytes <= STAGING_BYTES) return last;
    }
  }

  #submitRecords(flight) {
    const { wanted, batch, plan } = flight;
    plan.readCount = 0;
    batch.clear();
    for (let index = 0; index < wanted.count; index++) {
      const target = { arenaId: this.#slots.handle.arenaId, offsetBytes: wanted.targetOffsetBytes[index] };
      batch.push(0, wanted.offsetBytes[index], wanted.lengthBytes[index], target);
    }
    flight.pending = this.#reader.submit(batch);
  }

  #submitPlan(flight, stagingBytes) {
    const { plan, batch } = flight;
    const { arenaId, offsetBytes: base } = this.#slots.handle;
    batch.clear();
    for (let read = 0; read < plan.readCount; read++) {
      const direct = plan.readTargetOffsetBytes[read];
      const offsetBytes =
        direct === TARGET_ANYWHERE ? base + stagingBytes + plan.stagingOffsetBytes[read] : direct;
      batch.push(0, plan.readOffsetBytes[read], plan.readLengthBytes[read], { arenaId, offsetBytes });
    }
    flight.pending = this.#reader.submit(batch);
  }

  /** Waits for a chunk and copies what was staged to its slots. */
  #land(flight, recordBytes) {
    if (flight.pending === undefined) return;
    flight.pending.waitAll();
    flight.pending = undefined;
    const { plan, wanted, batch } = flight;
    const { bytes, handle } = this.#slots;
    for (let read = 0; read < plan.readCount; read++) {
      if (plan.readTargetOffsetBytes[read] !== TARGET_ANYWHERE) continue;
      const from = batch.targetOffsetBytes[read] - handle.offsetBytes;
      for (let piece = plan.pieceStart[read]; piece < plan.pieceStart[read + 1]; piece++) {
        const at = from + plan.pieceOffsetBytes[piece];
        const to = wanted.targetOffsetBytes[plan.pieceWanted[piece]] - handle.offsetBytes;
        bytes.copyWithin(to, at, at + recordBytes);
      }
    }
  }

  /** Some records, whole; then spoils them, so that the next run cannot pass with their bytes. */
  #check(ids, slotOf, recordBytes, random) {
    const { bytes } = this.#slots;
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    for (let turn = 0; turn < CHECKED_RECORDS; turn++) {
      const index = Math.floor(random() * ids.length);
      const slotWord = (slotOf[index] * recordBytes) / 4;
      const fileWord = (ids[index] * recordBytes) / 4;
      for (let word = 0; word < recordBytes / 4; word++) {
        if (words[slotWord + word] !== Math.imul(fileWord + word, 2654435761) >>> 0) {
          throw new Error(`record ${ids[index]} has a wrong word ${word}`);
        }
      }
    }
    bytes.fill(0, 0, ids.length * recordBytes);
  }
}

/** 0 to count - 1 in random order. */
function shuffled(count, random) {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}
