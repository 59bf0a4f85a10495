/** Absolute path of the GGUF file that this package carries (98,362,432 bytes, Q4_1, embeddings Q8_0). */
export declare const modelPath: string;
