/**
 * Number types that say what they count. A plain number may be assigned to each of them, but one
 * may not be assigned to another, so an offset cannot be passed where an index is meant.
 */
export type Unit<Name extends string> = number & { readonly __unit?: Name };

/** A count of bytes. */
export type ByteCount = Unit<"ByteCount">;
/** A position in a file or an arena, in bytes. */
export type ByteOffset = Unit<"ByteOffset">;
/** Index of a transformer layer, from 0. */
export type LayerIndex = Unit<"LayerIndex">;
/** Index of a neuron within its layer, in the order of the bundle's records. */
export type NeuronId = Unit<"NeuronId">;
/** Index of a cache slot within its layer. */
export type SlotIndex = Unit<"SlotIndex">;
/** Index into the vocabulary. */
export type TokenId = Unit<"TokenId">;
