/** The caches in their plainest form: arrays of rows, sorting instead of counting. What the real ones are compared with. */
export interface Row {
  readonly id: number;
  last: number;
}

/** What a model says of one acquire. */
export interface ModelAcquire {
  readonly missIds: number[];
  readonly overflowIds: number[];
}

/** One layer of a cache. `eager` is the compact cache; otherwise the slot map, whose `rows` may have holes. */
export class LayerModel {
  rows: (Row | undefined)[] = [];
  evictCount = 0;
  #free: number[] = [];
  readonly #eager: boolean;
  readonly #slotCount: number;
  readonly #pinnedCount: number;
  readonly #windowTokens: number;

  constructor(eager: boolean, slotCount: number, pinnedCount: number, windowTokens: number) {
    this.#eager = eager;
    this.#slotCount = slotCount;
    this.#pinnedCount = pinnedCount;
    this.#windowTokens = windowTokens;
    if (!eager) this.#free = Array.from({ length: slotCount }, (_, slot) => slotCount - 1 - slot);
  }

  residentIds(): number[] {
    return this.rows.flatMap((row) => (row === undefined ? [] : [row.id])).sort((a, b) => a - b);
  }

  acquire(ids: readonly number[], token: number, admit: boolean): ModelAcquire {
    const missIds = ids.filter((id) => this.#find(id) === undefined);
    if (admit) this.#makeRoom(ids, missIds, token);
    const overflowIds: number[] = [];
    for (const id of missIds) {
      if (id < this.#pinnedCount || this.#freeForAny() > 0)
        this.#put({ id, last: admit ? token : token - 1 });
      else overflowIds.push(id);
    }
    return { missIds, overflowIds };
  }

  #makeRoom(ids: readonly number[], missIds: readonly number[], token: number): void {
    for (const id of ids) {
      const row = this.#find(id);
      if (row !== undefined) row.last = token;
    }
    if (this.#eager)
      this.#drop(this.#victims(token).filter((slot) => this.#age(slot, token) >= this.#windowTokens));
    const neededCount = missIds.filter((id) => id >= this.#pinnedCount).length - this.#freeForAny();
    this.#drop(this.#victims(token).slice(0, Math.max(0, neededCount)));
  }

  /** Undoes the misses of the last acquire. */
  forget(missIds: readonly number[]): void {
    for (const id of [...missIds].reverse()) {
      const slot = this.rows.findIndex((row) => row?.id === id);
      if (slot >= 0) this.#remove(slot);
    }
  }

  #find(id: number): Row | undefined {
    return this.rows.find((row) => row?.id === id);
  }

  #age(slot: number, token: number): number {
    return token - this.rows[slot]!.last;
  }

  #freeForAny(): number {
    const ids = this.residentIds();
    const pinnedMissing = this.#pinnedCount - ids.filter((id) => id < this.#pinnedCount).length;
    return this.#slotCount - ids.length - pinnedMissing;
  }

  /** Slots that may be given up, oldest first, then by slot. */
  #victims(token: number): number[] {
    const slots = [...this.rows.keys()].filter((slot) => {
      const row = this.rows[slot];
      return row !== undefined && row.id >= this.#pinnedCount && row.last < token;
    });
    return slots.sort((a, b) => this.rows[a]!.last - this.rows[b]!.last || a - b);
  }

  #drop(victims: readonly number[]): void {
    this.evictCount += victims.length;
    const ascending = [...victims].sort((a, b) => a - b);
    if (!this.#eager) {
      for (const slot of ascending) this.#remove(slot);
      return;
    }
    const dead = new Set(ascending.map((slot) => this.rows[slot]!));
    for (const row of dead) {
      while (this.rows.length > 0 && dead.has(this.rows.at(-1)!)) this.rows.pop();
      const slot = this.rows.indexOf(row);
      if (slot >= 0) this.rows[slot] = this.rows.pop();
    }
  }

  #put(row: Row): void {
    if (this.#eager) this.rows.push(row);
    else this.rows[this.#free.pop()!] = row;
  }

  #remove(slot: number): void {
    if (this.#eager) this.rows.splice(slot, 1);
    else {
      this.rows[slot] = undefined;
      this.#free.push(slot);
    }
  }
}
