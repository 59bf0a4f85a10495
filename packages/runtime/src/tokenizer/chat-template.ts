import { FlashlmError } from "@flashlm/contracts";
import { Template } from "@huggingface/jinja";
import { runLimited } from "./time-limit.js";

/** One message of a conversation. */
export interface ChatMessage {
  /** "system", "user", "assistant", or what else the model's template knows. */
  readonly role: string;
  readonly content: string;
}

/** Templates are a few kilobytes, the longest known about 30. */
const TEMPLATE_LENGTH_MAX = 1_048_576;
/** Templates take well under a millisecond per message; one that runs this long has a loop that a model's author did not mean. */
const TEMPLATE_MS_MAX = 2_000;

/** A compiled chat template. */
export class ChatTemplate {
  readonly #template: Template;

  /** @throws TOKENIZER_UNSUPPORTED when the template cannot be compiled. */
  constructor(source: string) {
    if (source.length > TEMPLATE_LENGTH_MAX) {
      throw new FlashlmError(
        "TOKENIZER_FORMAT",
        `chat template: expected at most ${TEMPLATE_LENGTH_MAX} characters, found ${source.length}`,
      );
    }
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new FlashlmError(
        "TOKENIZER_UNSUPPORTED",
        `chat template: cannot be compiled (${(cause as Error).message}); use plain prompts with this model`,
        {},
        cause,
      );
    }
  }

  /** @throws ENGINE_OPTION when the template refuses the messages. */
  render(
    messages: readonly ChatMessage[],
    addGenerationPrompt: boolean,
    specialTokens: Readonly<Record<string, string>>,
  ): string {
    try {
      const values = {
        ...specialTokens,
        messages: messages.map((message) => ({ ...message })),
        add_generation_prompt: addGenerationPrompt,
      };
      return runLimited(() => this.#template.render(values), TEMPLATE_MS_MAX);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT") {
        throw new FlashlmError(
          "TOKENIZER_UNSUPPORTED",
          `chat template: expected it to end within ${TEMPLATE_MS_MAX} ms but it did not; use plain prompts with this model`,
          { limitMs: TEMPLATE_MS_MAX },
          cause,
        );
      }
      throw new FlashlmError(
        "ENGINE_OPTION",
        `chat template: the model's template refused these messages (${(cause as Error).message}); ` +
          "check the order of the roles",
        { roles: messages.map((message) => message.role) },
        cause,
      );
    }
  }
}
