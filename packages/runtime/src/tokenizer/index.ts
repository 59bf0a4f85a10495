export type { ChatMessage } from "./chat-template.js";
export { loadTokenizer } from "./load-tokenizer.js";
export type { StreamDecoder } from "./stream-decoder.js";
export type { TextTokenizer } from "./text-tokenizer.js";
