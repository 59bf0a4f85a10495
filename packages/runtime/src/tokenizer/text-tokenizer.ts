import { FlashlmError } from "@flashlm/contracts";
import type { Tokenizer } from "@huggingface/tokenizers";
import { type ChatMessage, ChatTemplate } from "./chat-template.js";
import { createByteStreamDecoder, createSuffixStreamDecoder, type StreamDecoder } from "./stream-decoder.js";
import { type TokenSpelling, tokenBytes } from "./token-bytes.js";

/** Text to tokens and back, and the model's chat format. */
export interface TextTokenizer {
  /**
   * Tokens of a text. Special tokens that are spelled out in the text become those tokens.
   * `addSpecialTokens` (default true) adds what the model expects around a text, such as BOS; use false for rendered chats.
   * @throws ENGINE_OPTION when the text has more than 16 Mi characters.
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** Text of tokens; ids that are no tokens give nothing. `skipSpecialTokens` (default false) leaves control tokens out. */
  decode(ids: Iterable<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  readonly hasChatTemplate: boolean;
  /**
   * The conversation as the model was trained to see it. `addGenerationPrompt` (default true) opens the answer.
   * @throws TOKENIZER_UNSUPPORTED without a usable template, ENGINE_OPTION when the template refuses the messages.
   */
  renderChat(messages: readonly ChatMessage[], options?: { readonly addGenerationPrompt?: boolean }): string;
  /**
   * A decoder for tokens that continue a text: only complete characters come out, and a leading space stays.
   * `skipSpecialTokens` (default true) leaves control tokens out.
   */
  createStreamDecoder(options?: { readonly skipSpecialTokens?: boolean }): StreamDecoder;
  /** One more than the largest token id. */
  readonly vocabularySize: number;
  /** Id of a token by its exact text, as the vocabulary spells it. */
  tokenId(text: string): number | undefined;
}

/** What {@link LibraryTokenizer} is built from. */
export interface TokenizerSetup {
  readonly library: Tokenizer;
  readonly spelling: TokenSpelling;
  readonly dropsFirstSpace: boolean;
  readonly vocabularySize: number;
  /** BOS to be added where the library's template does not. */
  readonly bos: number | undefined;
  readonly chatTemplate: string | null;
  /** `bos_token` and the like, for templates. */
  readonly specialTokens: Readonly<Record<string, string>>;
}

/** About 4 million tokens, longer than any context; encoding takes some 100 bytes of memory per character. */
const TEXT_LENGTH_MAX = 16 * 1024 * 1024;

/** A {@link TextTokenizer} over the tokenizer library, with decoding of its own, by bytes. */
export class LibraryTokenizer implements TextTokenizer {
  readonly #setup: TokenizerSetup;
  readonly #added = new Map<number, boolean>();
  #template: ChatTemplate | null = null;

  /** Keeps `setup`. */
  constructor(setup: TokenizerSetup) {
    this.#setup = setup;
    for (const [id, token] of setup.library.get_added_tokens_decoder()) this.#added.set(id, token.special);
  }

  get vocabularySize(): number {
    return this.#setup.vocabularySize;
  }

  get hasChatTemplate(): boolean {
    return this.#setup.chatTemplate !== null;
  }

  tokenId(text: string): number | undefined {
    return this.#setup.library.token_to_id(text);
  }

  encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}): number[] {
    if (text.length > TEXT_LENGTH_MAX) {
      throw new FlashlmError(
        "ENGINE_OPTION",
        `tokenizer: expected a text of at most ${TEXT_LENGTH_MAX} characters, got ${text.length}; encode it in parts`,
        { lengthMax: TEXT_LENGTH_MAX, length: text.length },
      );
    }
    const addSpecialTokens = options.addSpecialTokens ?? true;
    const { ids } = this.#setup.library.encode(text, { add_special_tokens: addSpecialTokens });
    const known = (ids as (number | undefined)[]).filter((id) => id !== undefined);
    const { bos } = this.#setup;
    return addSpecialTokens && bos !== undefined && known[0] !== bos ? [bos, ...known] : known;
  }

  decode(ids: Iterable<number>, options: { readonly skipSpecialTokens?: boolean } = {}): string {
    const skip = options.skipSpecialTokens ?? false;
    if (this.#setup.spelling === null) return this.#decodeByLibrary([...ids], skip);
    const decoder = this.createStreamDecoder({ skipSpecialTokens: skip });
    let text = "";
    for (const id of ids) text += decoder.push(id);
    text += decoder.end();
    return this.#setup.dropsFirstSpace && text.startsWith(" ") ? text.slice(1) : text;
  }

  createStreamDecoder(options: { readonly skipSpecialTokens?: boolean } = {}): StreamDecoder {
    const skip = options.skipSpecialTokens ?? true;
    const { spelling, library } = this.#setup;
    if (spelling === null) return createSuffixStreamDecoder((ids) => this.#decodeByLibrary(ids, skip));
    return createByteStreamDecoder((id) => {
      const special = this.#added.get(id);
      if (special === true && skip) return null;
      const text = library.id_to_token(id);
      return text === undefined ? null : tokenBytes(text, spelling, special !== undefined);
    });
  }

  renderChat(
    messages: readonly ChatMessage[],
    options: { readonly addGenerationPrompt?: boolean } = {},
  ): string {
    const source = this.#setup.chatTemplate;
    if (source === null) {
      throw new FlashlmError(
        "TOKENIZER_UNSUPPORTED",
        "tokenizer: expected a chat template, but this model has none; use plain prompts, or a model that was tuned for chat",
      );
    }
    this.#template ??= new ChatTemplate(source);
    return this.#template.render(messages, options.addGenerationPrompt ?? true, this.#setup.specialTokens);
  }

  #decodeByLibrary(ids: readonly number[], skipSpecialTokens: boolean): string {
    const known = ids.filter((id) => this.#setup.library.id_to_token(id) !== undefined);
    if (known.length === 0) return "";
    return this.#setup.library.decode(known, {
      skip_special_tokens: skipSpecialTokens,
      clean_up_tokenization_spaces: false,
    });
  }
}
