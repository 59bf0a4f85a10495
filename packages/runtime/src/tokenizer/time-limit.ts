import { Script } from "node:vm";

/** Name under which the work of a call is found by the script that limits it. */
const WORK = "__flashlmLimitedWork";
const script = new Script(`globalThis.${WORK}()`);

/**
 * Runs synchronous work that is stopped when it takes longer than `limitMs`; for programs that come with a model, such as
 * chat templates. Throws what the work throws, or the host's ERR_SCRIPT_EXECUTION_TIMEOUT.
 */
export function runLimited<Value>(work: () => Value, limitMs: number): Value {
  const scope = globalThis as unknown as Record<string, unknown>;
  scope[WORK] = work;
  try {
    return script.runInThisContext({ timeout: limitMs }) as Value;
  } finally {
    delete scope[WORK];
  }
}
