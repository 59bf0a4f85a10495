/** Largest `bundle.json`. About 300 bytes per tensor, 32 tensors per layer and 1024 layers are 10 MB. */
export const MANIFEST_BYTES_MAX: number = 64 * 1024 * 1024;
/** Most layers. The deepest published models have 126. */
export const LAYER_COUNT_MAX = 1024;
/** Most neurons of one layer. The widest published FFNs have about 120 thousand. */
export const NEURON_COUNT_MAX: number = 1 << 20;
/** Most neurons of all layers: their checksums and order take 8 bytes each in memory, 256 MiB at this limit. */
export const NEURON_TOTAL_MAX: number = 1 << 25;
/** Largest hidden size. Published models end at 18,432. */
export const HIDDEN_SIZE_MAX: number = 1 << 18;
/** Largest vocabulary. Published models end at about 262 thousand. */
export const VOCABULARY_SIZE_MAX: number = 1 << 24;
/** Most tensors of all weight files. */
export const TENSOR_COUNT_MAX: number = 1 << 16;
/** Longest name of a tensor or a file, in characters. */
export const NAME_LENGTH_MAX = 200;
/** Longest text for people (reasons, names) in `bundle.json`, in characters. */
export const TEXT_LENGTH_MAX = 10_000;
/** Largest weight file: 2^50 bytes keeps every sum of offsets exact in a double. */
export const FILE_BYTES_MAX: number = 2 ** 50;

/** Where every vector of a record begins: kernels address memory in units of it. */
export const VECTOR_ALIGNMENT_BYTES = 16;
/** Sector of a flash device: strides are rounded to it where that is cheap. */
export const SECTOR_BYTES = 512;
