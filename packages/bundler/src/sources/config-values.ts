import { FlashlmError } from "@flashlm/contracts";

/** Typed access to the values of a config, with errors that name the key. */
export class ConfigValues {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #source: string;

  /** @param source - what is read, for messages. */
  constructor(values: Readonly<Record<string, unknown>>, source: string) {
    this.#values = values;
    this.#source = source;
  }

  /** The value, or undefined where it is absent or null. */
  raw(key: string): unknown {
    const value = Object.hasOwn(this.#values, key) ? this.#values[key] : undefined;
    return value === null ? undefined : value;
  }

  /** True where the key is there with the value null, which often means "none" rather than "the default". */
  isNull(key: string): boolean {
    return Object.hasOwn(this.#values, key) && this.#values[key] === null;
  }

  /** True where the key has a value other than null. */
  has(key: string): boolean {
    return this.raw(key) !== undefined;
  }

  /** The same values without some keys. */
  without(...keys: readonly string[]): ConfigValues {
    const kept = Object.entries(this.#values).filter(([key]) => !keys.includes(key));
    return new ConfigValues(Object.fromEntries(kept), this.#source);
  }

  /** The same values with one more, or another one. */
  with(key: string, value: unknown): ConfigValues {
    return new ConfigValues({ ...this.#values, [key]: value }, this.#source);
  }

  /** The same values, where a key that is absent takes the value of its old name. */
  renamed(oldNames: Readonly<Record<string, string>>): ConfigValues {
    return Object.entries(oldNames).reduce<ConfigValues>(
      (values, [key, oldName]) =>
        !values.has(key) && values.has(oldName) ? values.with(key, values.raw(oldName)) : values,
      this,
    );
  }

  /** @throws CHECKPOINT_FORMAT always. */
  fail(key: string, expected: string): never {
    const value = this.raw(key);
    const shown =
      JSON.stringify(typeof value === "bigint" ? String(value) : value)?.slice(0, 60) ?? "nothing";
    throw new FlashlmError("CHECKPOINT_FORMAT", `${this.#source}: ${key} is ${shown}, expected ${expected}`, {
      key,
    });
  }

  /** A finite number within bounds. @throws CHECKPOINT_FORMAT. */
  number(key: string, fallback?: number, lowest: number = -Number.MAX_VALUE): number {
    const value = this.raw(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || value < lowest)
      this.fail(key, lowest === -Number.MAX_VALUE ? "a finite number" : `a number of at least ${lowest}`);
    return value;
  }

  /** A finite number above 0. @throws CHECKPOINT_FORMAT. */
  positive(key: string, fallback?: number): number {
    const value = this.number(key, fallback);
    return value > 0 ? value : this.fail(key, "a number above 0");
  }

  /** An integer of at least 1 and at most `highest`. @throws CHECKPOINT_FORMAT. */
  count(key: string, highest: number, fallback?: number): number {
    const raw = this.raw(key) ?? fallback;
    // Some writers give one value per layer.
    const value = Array.isArray(raw) && raw.length > 0 && raw.every((item) => item === raw[0]) ? raw[0] : raw;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > highest)
      this.fail(
        key,
        `an integer from 1 to ${highest}${Array.isArray(raw) ? " (the same for all layers)" : ""}`,
      );
    return value;
  }

  /** @throws CHECKPOINT_FORMAT. */
  boolean(key: string, fallback: boolean): boolean {
    const value = this.raw(key) ?? fallback;
    return typeof value === "boolean" ? value : this.fail(key, "true or false");
  }

  /** @throws CHECKPOINT_FORMAT. */
  string(key: string, fallback?: string): string {
    const value = this.raw(key) ?? fallback;
    return typeof value === "string" ? value : this.fail(key, "a string");
  }

  /** A list of `count` items that `accepts`, or undefined where it is absent. @throws CHECKPOINT_FORMAT. */
  list<Item>(
    key: string,
    count: number,
    accepts: (item: unknown) => item is Item,
    expected: string,
  ): readonly Item[] | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || value.length !== count || !value.every((item) => accepts(item)))
      this.fail(key, `a list of ${count} ${expected}`);
    return value;
  }

  /** The values of an object within this one, or undefined where it is absent or no object. */
  within(key: string): ConfigValues | undefined {
    const value = this.raw(key);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? new ConfigValues(value as Readonly<Record<string, unknown>>, `${this.#source}, ${key}`)
      : undefined;
  }

  /** A token id below `vocabularySize`; null where it is absent or negative (a way to say "none"). @throws CHECKPOINT_FORMAT. */
  tokenId(key: string, vocabularySize: number): number | null {
    return this.tokenIds(key, vocabularySize)[0] ?? null;
  }

  /** One token id or a list of them. @throws CHECKPOINT_FORMAT. */
  tokenIds(key: string, vocabularySize: number): number[] {
    const value = this.raw(key) ?? [];
    const list: unknown[] = Array.isArray(value) ? value : [value];
    // Generous: models have at most a handful of end tokens.
    if (list.length > 1024) this.fail(key, "at most 1024 token ids");
    return list
      .map((id) => {
        // "None" as the same bits without a sign.
        if (id === 0xffffffff) return -1;
        if (typeof id !== "number" || !Number.isInteger(id) || id >= vocabularySize)
          this.fail(key, `token ids below ${vocabularySize}`);
        return id;
      })
      .filter((id) => id >= 0);
  }
}

/** Largest sizes of a model that is accepted: well above any published dense model, and safe to multiply. */
export const MODEL_LIMITS: Readonly<
  Record<
    | "hiddenSize"
    | "neuronCount"
    | "layerCount"
    | "headCount"
    | "headDim"
    | "vocabularySize"
    | "contextLength",
    number
  >
> = {
  hiddenSize: 2 ** 18,
  neuronCount: 2 ** 20,
  layerCount: 1024,
  headCount: 4096,
  headDim: 4096,
  vocabularySize: 2 ** 24,
  contextLength: 2 ** 31,
};
