import { type BundleManifest, FlashlmError } from "@flashlm/contracts";
import { crc32c } from "./crc32c.js";

/** A file that a bundle must have. `crc32c` is null for weight files: their tensors and records have their own. */
export interface BundleFileEntry {
  readonly name: string;
  readonly sizeBytes: number;
  readonly crc32c: number | null;
}

/** Everything in `bundle.json` behind its checksum line. */
export type BundleDocument = BundleManifest & { readonly files: readonly BundleFileEntry[] };

const PREFIX = '{"manifestCrc32c":"';
const PREFIX_BYTES = PREFIX.length + 8 + 3;

/** Text of `bundle.json`: a first line with the CRC32C of all bytes behind it, then the rest of the object. */
export function encodeBundleJson(document: BundleDocument): Uint8Array {
  const body = new TextEncoder().encode(`${JSON.stringify(document, null, 1).slice(1).trimStart()}\n`);
  const line = new TextEncoder().encode(`${PREFIX}${crc32c(body).toString(16).padStart(8, "0")}",\n`);
  const bytes = new Uint8Array(line.length + body.length);
  bytes.set(line);
  bytes.set(body, line.length);
  return bytes;
}

/** Checks the checksum line and the version and parses; the shape is the caller's to check. @throws BUNDLE_CHECKSUM, BUNDLE_VERSION, BUNDLE_FORMAT. */
export function decodeBundleJson(bytes: Uint8Array, path: string): unknown {
  const line = new TextDecoder("latin1").decode(bytes.subarray(0, PREFIX_BYTES));
  const match = /^\{"manifestCrc32c":"([0-9a-f]{8})",\n$/.exec(line);
  const intact = match !== null && Number.parseInt(match[1]!, 16) === crc32c(bytes.subarray(PREFIX_BYTES));
  if (match !== null && !intact) {
    throw new FlashlmError(
      "BUNDLE_CHECKSUM",
      `${path} was changed or damaged (its checksum differs): make the bundle again`,
      { path },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new FlashlmError("BUNDLE_FORMAT", `${path} is not JSON: make the bundle again`, { path }, cause);
  }
  const version = (value as { formatVersion?: unknown } | null)?.formatVersion;
  if (typeof version === "number" && version !== 1) {
    throw new FlashlmError(
      "BUNDLE_VERSION",
      `${path} has format version ${version}, this program reads 1: update it, or make the bundle again`,
      { path, version },
    );
  }
  if (!intact)
    throw new FlashlmError(
      "BUNDLE_FORMAT",
      `${path} does not begin with a checksum line: make the bundle again`,
      { path },
    );
  return value;
}
