// Numbers that the AssemblyScript kernels and their TypeScript host share; plain constants, so that both compile them.

/** Control words, one cache line each so that threads that spin do not disturb each other. */
/** Two words: the next unit of the running op that nobody has claimed, and the op's serial number, which changes with every op. */
export const CURRENT = 1024;
/** The second word of CURRENT, which threads wait on. */
export const SERIAL = 1028;
/** Set by the host when the set closes. */
export const STOP = 1088;
/** Units of the running op that are done. */
export const UNITS_DONE = 1152;
/** What the running op is: its units, how many are claimed at a time, its command, its index. Written while nothing can be claimed. */
export const UNITS = 1216;
export const CLAIM_SIZE = 1220;
export const COMMAND = 1224;
export const COMMAND_INDEX = 1228;
/** Threads, where their scratch begins, its bytes for each, and where the rounded tokens begin in it. Written once. */
export const THREAD_COUNT = 1280;
export const SCRATCH_START = 1284;
export const SCRATCH_BYTES = 1288;
export const SCRATCH_TOKENS = 1292;
/** Threads that sleep or are about to. */
export const SLEEPERS = 1344;
export const READY = 1408;
export const FAILED = 1472;
export const FAULT = 1536;
/** Vectors that loops keep in registers: 160 bytes. */
export const CONSTANTS = 1600;
/** Slice-by-8 tables of CRC32C: eight of 256 words. */
export const CRC_TABLES = 2048;
/** The running program: 96 ops of at most 3 + 25 words and their count. */
export const PROGRAM_BASE = 10240;
export const PROGRAM_BYTES = 12288;
export const OP_COUNT_MAX = 96;
/** First byte behind what every set needs; the scratch of the threads follows. */
export const SCRATCH_BASE = 22528;
/** Longest row of weights that scratch is made for where no other is asked for: the hidden size of the largest published dense models. */
export const COLUMN_COUNT_USUAL = 16384;
/** Longest row that scratch may be made for: training multiplies along the neurons of an FFN, which the largest have 53,248 of. */
export const COLUMN_COUNT_MAX = 65536;
/** Most positions that attention looks at. */
export const ATTENTION_POSITIONS_MAX = 65536;
/** More threads do not help: DRAM is saturated by fewer. */
export const THREAD_COUNT_MAX = 8;
/** Bytes of a thread's dot results, at the start of its scratch. */
export const DOTS_BYTES = 1024;
/** Tokens that are rounded to int8 and multiplied together. */
export const TOKEN_TILE = 4;
/** Positions whose scores are in scratch at a time. */
export const SCORES_TILE = 1024;

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
/** An op whose command and operands lie in another memory; the host makes it, for arenas of several memories. */
export const OP_ELSEWHERE = 17;

export const SCORE_CONTRIBUTION = 0;
export const SCORE_GATE = 1;
export const SCORE_PRODUCT = 2;

/** Faults that ops report instead of reading beyond memory. */
export const FAULT_ROW_ID = 1;
export const FAULT_ADDRESS = 2;
