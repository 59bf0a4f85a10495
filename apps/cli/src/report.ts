import { readFileSync } from "node:fs";
import type { GeneratorReport } from "@flashlm/contracts";
import type { TokenForecast } from "@flashlm/runtime";
import { formatBytes } from "./memory-option.js";
import type { Session } from "./session.js";

/** The `mode:` line: what was really used. */
export function modeLine(mode: Readonly<Record<string, string>>): string {
  return `mode: ${Object.entries(mode)
    .map(([key, value]) => `${key} ${value}`)
    .join(" | ")}`;
}

/** Figures of speculative decoding. */
export interface SpeculationFigures {
  readonly proposedTokens: number;
  readonly acceptedTokens: number;
  readonly acceptanceRate: number;
  /** Tokens that one pass of the target gives. */
  readonly tokensPerPass: number;
  readonly draftMsPerToken: number;
  /** Part of `readBytesPerToken` that the draft reads. */
  readonly draftReadBytesPerToken: number;
}

/** Figures of a run, for `--json` and for the printed report. Times in ms per decoded token. */
export interface RunReport {
  readonly promptTokens: number;
  readonly promptTokensPerSecond: number;
  readonly decodeTokens: number;
  readonly tokensPerSecond: number;
  readonly msPerToken: number;
  readonly ioWaitMsPerToken: number;
  readonly cacheMsPerToken: number;
  readonly computeMsPerToken: number;
  readonly readBytes: number;
  readonly readBytesPerToken: number;
  /** What the system says the process read from storage, where it says so (Linux). */
  readonly systemReadBytes: number | null;
  readonly hitRate: number;
  readonly recordsRead: number;
  /** Per decoded token, those that were read early on a guess included. */
  readonly recordsReadPerToken: number;
  readonly keptShare: number;
  /** Records read early on a guess per decoded token, the share of them that was wanted, and how often guesses were stopped; null without look-ahead. */
  readonly lookAhead: {
    readonly recordsPerToken: number;
    readonly usedShare: number;
    readonly stopCount: number;
    /** Records per token whose reads were given up before they began. */
    readonly cancelledPerToken: number;
    /** Bytes per token that were read in vain. */
    readonly wastedBytesPerToken: number;
  } | null;
  readonly plannedBytes: number;
  readonly peakResidentBytes: number | null;
  readonly overheadBytes: number;
  readonly memory: GeneratorReport["memory"];
  /** What a draft model brought; null without one. */
  readonly speculation: SpeculationFigures | null;
  /** What the cost model expected of a decoded token; null where the device or the kernels have not been measured. */
  readonly forecast: TokenForecast | null;
  /** Forecast over measured time of a decoded token. */
  readonly forecastRatio: number | null;
}

const ratio = (part: number, whole: number): number => (whole > 0 ? part / whole : 0);

function speculationOf({ speculation, decodeTokens }: GeneratorReport): SpeculationFigures | null {
  if (!speculation) return null;
  const { acceptedTokens, draftMs, draftReadBytes, passCount, proposedTokens } = speculation;
  return {
    proposedTokens,
    acceptedTokens,
    acceptanceRate: ratio(acceptedTokens, proposedTokens),
    tokensPerPass: ratio(decodeTokens, passCount),
    draftMsPerToken: ratio(draftMs, decodeTokens),
    draftReadBytesPerToken: ratio(draftReadBytes, decodeTokens),
  };
}

/** Field of a /proc file, or null where there is none. */
function procField(path: string, field: string): number | null {
  try {
    const match = new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(path, "utf8"));
    return match ? Number(match[1]) : null;
  } catch {
    return null;
  }
}

/** Bytes that this process has read from storage so far, or null where the system does not say. */
export function systemReadBytes(): number | null {
  return procField("/proc/self/io", "read_bytes");
}

/**
 * @param systemBytesBefore - what {@link systemReadBytes} said before the engine was made.
 * @param forecast - what the cost model expects of this run, where it is known.
 */
export function makeReport(
  session: Session,
  systemBytesBefore: number | null,
  forecast: TokenForecast | null = null,
): RunReport {
  const raw = session.generator.report();
  const peakKilobytes = procField("/proc/self/status", "VmHWM");
  const systemBytes = systemReadBytes();
  return {
    promptTokens: raw.promptTokens,
    promptTokensPerSecond: ratio(raw.promptTokens * 1000, raw.promptMs),
    decodeTokens: raw.decodeTokens,
    tokensPerSecond: ratio(raw.decodeTokens * 1000, raw.decodeMs),
    msPerToken: ratio(raw.decodeMs, raw.decodeTokens),
    ioWaitMsPerToken: ratio(raw.ioWaitMs, raw.decodeTokens),
    cacheMsPerToken: ratio(raw.cacheMs, raw.decodeTokens),
    computeMsPerToken: ratio(raw.computeMs, raw.decodeTokens),
    readBytes: raw.readBytes,
    readBytesPerToken: ratio(raw.decodeReadBytes, raw.decodeTokens),
    systemReadBytes:
      systemBytes === null || systemBytesBefore === null ? null : systemBytes - systemBytesBefore,
    hitRate: ratio(raw.hitCount, raw.recordCount),
    recordsRead: raw.recordsRead,
    recordsReadPerToken: ratio(raw.decodeRecordsRead, raw.decodeTokens),
    keptShare: ratio(raw.keptNeurons, raw.possibleNeurons),
    lookAhead: raw.lookAhead
      ? {
          recordsPerToken: ratio(raw.lookAhead.recordCount, raw.decodeTokens),
          usedShare: ratio(raw.lookAhead.usedCount, raw.lookAhead.recordCount),
          stopCount: raw.lookAhead.stopCount,
          cancelledPerToken: ratio(raw.lookAhead.cancelledCount, raw.decodeTokens),
          wastedBytesPerToken: ratio(raw.lookAhead.wastedBytes, raw.decodeTokens),
        }
      : null,
    plannedBytes: session.limitBytes,
    peakResidentBytes: peakKilobytes === null ? null : peakKilobytes * 1024,
    overheadBytes: session.overheadBytes,
    memory: raw.memory,
    speculation: speculationOf(raw),
    forecast,
    forecastRatio:
      forecast && raw.decodeTokens > 0 ? forecast.tokenMs / (raw.decodeMs / raw.decodeTokens) : null,
  };
}

/** The report as lines for people. */
export function describeReport(report: RunReport): string[] {
  const ms = (value: number): string => `${value.toFixed(1)} ms`;
  const measured =
    report.systemReadBytes === null ? "" : ` (the system counted ${formatBytes(report.systemReadBytes)})`;
  const peak =
    report.peakResidentBytes === null ? "" : `, peak in memory ${formatBytes(report.peakResidentBytes)}`;
  return [
    `speed: ${report.tokensPerSecond.toFixed(1)} tokens/s over ${report.decodeTokens} tokens; prompt ${report.promptTokensPerSecond.toFixed(0)} tokens/s over ${report.promptTokens}`,
    `token: ${ms(report.msPerToken)} = I/O wait ${ms(report.ioWaitMsPerToken)} + cache ${ms(report.cacheMsPerToken)} + compute ${ms(report.computeMsPerToken)}`,
    ...(report.forecast
      ? [
          `forecast: ${ms(report.forecast.tokenMs)} = I/O wait ${ms(report.forecast.ioWaitMs)} + cache ${ms(report.forecast.cacheMs)} + compute ${ms(report.forecast.computeMs)}; ${(100 * (report.forecastRatio ?? 0)).toFixed(0)}% of what was measured`,
        ]
      : ["forecast: none (flashlm device and flashlm plan measure what it needs)"]),
    ...(report.speculation ? [describeSpeculation(report.speculation)] : []),
    `flash: ${formatBytes(report.readBytesPerToken)} per token, ${formatBytes(report.readBytes)} in all${measured}; hit rate ${(100 * report.hitRate).toFixed(0)}%, kept ${(100 * report.keptShare).toFixed(0)}% of neurons`,
    ...(report.lookAhead
      ? [
          `look-ahead: ${report.lookAhead.recordsPerToken.toFixed(0)} records per token read early, ${(100 * report.lookAhead.usedShare).toFixed(0)}% of them wanted, ${report.lookAhead.cancelledPerToken.toFixed(0)} given up, ${formatBytes(report.lookAhead.wastedBytesPerToken)} in vain, stopped ${report.lookAhead.stopCount} times`,
        ]
      : []),
    `memory: planned ${formatBytes(report.plannedBytes)}${peak}`,
  ];
}

function describeSpeculation(figures: SpeculationFigures): string {
  const { acceptanceRate, draftMsPerToken, draftReadBytesPerToken, proposedTokens, tokensPerPass } = figures;
  return `draft: ${(100 * acceptanceRate).toFixed(0)}% of ${proposedTokens} tokens accepted, ${tokensPerPass.toFixed(2)} tokens per pass of the model; the draft took ${draftMsPerToken.toFixed(1)} ms and read ${formatBytes(draftReadBytesPerToken)} per token`;
}
