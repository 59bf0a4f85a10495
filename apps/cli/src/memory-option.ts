import os from "node:os";
import { FlashlmError } from "@flashlm/contracts";

/** How much memory a run may use. */
export type MemoryOption =
  | { readonly kind: "share"; readonly share: number }
  | { readonly kind: "bytes"; readonly bytes: number; readonly automatic: boolean }
  | { readonly kind: "max" };

const UNITS: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
  "": 1,
};
/** Left to the system when the limit is what happens to be available. */
const RESERVE_BYTES = 512 * 1024 ** 2;

/**
 * Reads `--memory`: a share of the bundle's weights ("60%"), bytes for the whole process ("2GiB"), "max", or automatic when absent.
 *
 * @throws ENGINE_OPTION when it is none of these.
 */
export function parseMemory(text: string | undefined, flag = "--memory"): MemoryOption {
  if (text === undefined) return automaticMemory();
  const trimmed = text.trim().toLowerCase();
  if (trimmed === "max") return { kind: "max" };
  const match = /^(\d+(?:\.\d+)?)\s*(%|[a-z]*)$/.exec(trimmed);
  const amount = Number(match?.[1]);
  const unit = match?.[2] ?? "?";
  if (match && unit === "%" && amount > 0) return { kind: "share", share: amount / 100 };
  const factor = UNITS[unit];
  if (match && factor !== undefined && amount > 0)
    return { kind: "bytes", bytes: Math.floor(amount * factor), automatic: false };
  throw new FlashlmError(
    "ENGINE_OPTION",
    `Expected ${flag} to be like 60%, 2GiB, 1500MB or max but received "${text}".`,
    { memory: text },
  );
}

/** A container's limit when there is one, else what is available less a reserve. */
function automaticMemory(): MemoryOption {
  const limited = process.constrainedMemory?.() ?? 0;
  const total = os.totalmem();
  if (limited > 0 && limited < total) return { kind: "bytes", bytes: limited, automatic: true };
  return { kind: "bytes", bytes: Math.max(os.freemem() - RESERVE_BYTES, RESERVE_BYTES), automatic: true };
}

/** Bytes as people read them. */
export function formatBytes(bytes: number): string {
  if (bytes >= 1024 ** 3) return `${(bytes / 1024 ** 3).toFixed(2)} GiB`;
  if (bytes >= 1024 ** 2) return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
  if (bytes >= 1024) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${Math.round(bytes)} B`;
}
