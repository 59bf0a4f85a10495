import {
  type ErrorCode,
  type ErrorDetails,
  FlashlmError,
  type GenerateOptions,
  type GeneratorReport,
  type TokenEvent,
  type TokenId,
} from "@flashlm/contracts";

/** An error as it crosses threads. */
export interface ErrorMessage {
  readonly message: string;
  readonly code?: ErrorCode;
  readonly details?: ErrorDetails;
  readonly stack?: string;
}

/** What the client asks of the thread that holds the engine. */
export type HostRequest =
  | {
      readonly kind: "generate";
      readonly promptTokens: readonly TokenId[];
      readonly options: Omit<GenerateOptions, "signal">;
    }
  | { readonly kind: "evaluate"; readonly tokens: readonly TokenId[] }
  | { readonly kind: "score"; readonly tokens: readonly TokenId[] }
  | { readonly kind: "close" };

/** What the host answers. A request ends with `end` or `error`. */
export type HostReply =
  | {
      readonly kind: "ready";
      readonly mode: Readonly<Record<string, string>>;
      readonly contextLength: number;
    }
  | { readonly kind: "token"; readonly event: TokenEvent }
  | { readonly kind: "rows"; readonly rows: Float32Array; readonly firstRow: number }
  | { readonly kind: "losses"; readonly losses: Float64Array }
  | { readonly kind: "end"; readonly report: GeneratorReport }
  | { readonly kind: "error"; readonly error: ErrorMessage };

/** Flattens an error so that its code survives. */
export function packError(error: unknown): ErrorMessage {
  if (FlashlmError.isInstance(error))
    return { message: error.message, code: error.code, details: error.details };
  if (error instanceof Error)
    return { message: error.message, ...(error.stack ? { stack: error.stack } : {}) };
  return { message: String(error) };
}

/** Restores an error that was packed by {@link packError}. */
export function unpackError(packed: ErrorMessage): Error {
  if (packed.code) return new FlashlmError(packed.code, packed.message, packed.details);
  const error = new Error(packed.message);
  if (packed.stack) error.stack = packed.stack;
  return error;
}
