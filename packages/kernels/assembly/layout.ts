// Numbers that the AssemblyScript kernels and their TypeScript host share; plain constants, so that both compile them.

/** Control words, one cache line each so that threads that spin do not disturb each other. */
export const SEQUENCE = 1024;
export const STOP = 1088;
export const PROGRAM_POINTER = 1152;
export const THREAD_COUNT = 1216;
export const BARRIER = 1280;
export const BARRIER_SLEEPERS = 1344;
export const READY = 1408;
export const FAILED = 1472;
export const FAULT = 1536;
export const SEQUENCE_SLEEPERS = 1600;
/** One word per op of the running program: work that threads have claimed. Ends where the tables begin. */
export const TICKETS = 1664;
export const OP_COUNT_MAX = 96;
/** Slice-by-8 tables of CRC32C: eight of 256 words. */
export const CRC_TABLES = 2048;
/** Compiled programs: 2000 of 12 ops with 20 words each, rounded up. */
export const PROGRAM_BASE = 16384;
export const PROGRAM_BYTES = 2097152;
/** Longest row that fits a thread's scratch: the hidden size of the largest published dense models. */
export const COLUMN_COUNT_MAX = 16384;
/** Scores of one head must fit a thread's scratch. */
export const ATTENTION_POSITIONS_MAX = 65536;
/** More threads do not help: DRAM is saturated by fewer. */
export const THREAD_COUNT_MAX = 8;
/** Offset of a thread's dot results within its scratch, behind four rows with their padding. */
export const SCRATCH_DOTS = 263168;
/** Offset of a thread's rounded tokens: TOKEN_TILE of them, numbers and a line of 64 bytes each, then 32 bytes per block of 32 columns. */
export const SCRATCH_TOKENS = 264192;
/** Tokens that are rounded to int8 and multiplied together. */
export const TOKEN_TILE = 4;
export const SCRATCH_BYTES = 411904;
export const SCRATCH_BASE = 2113536;
/** First byte that callers may allocate: SCRATCH_BASE + THREAD_COUNT_MAX * SCRATCH_BYTES. */
export const HEAP_BASE = 5408768;

export const DTYPE_F32 = 0;
export const DTYPE_F16 = 1;
export const DTYPE_BF16 = 2;
export const DTYPE_Q8_0 = 3;
export const DTYPE_Q4_0 = 4;
export const DTYPE_Q4_1 = 5;

export const ACTIVATION_SILU = 0;
export const ACTIVATION_RELU = 1;
export const ACTIVATION_RELU2 = 2;
export const ACTIVATION_GELU = 3;
export const ACTIVATION_GELU_TANH = 4;

export const OP_GATHER_ROWS = 1;
export const OP_NORM = 2;
export const OP_MATMUL = 3;
export const OP_ROPE = 4;
export const OP_STORE_KEY_VALUE = 5;
export const OP_ATTENTION = 6;
export const OP_FFN_ACTIVATIONS = 7;
export const OP_FFN_DOWN = 8;
export const OP_NEURON_SCORES = 9;
export const OP_CRC32C = 10;
export const OP_ADD = 11;
export const OP_COPY = 12;
export const OP_SOFT_CAP = 13;
export const OP_SOFTMAX = 14;
export const OP_ARGMAX = 15;
export const OP_CONVERT = 16;

export const SCORE_CONTRIBUTION = 0;
export const SCORE_GATE = 1;
export const SCORE_PRODUCT = 2;

/** Faults that ops report instead of reading beyond memory. */
export const FAULT_ROW_ID = 1;
export const FAULT_ADDRESS = 2;
