import { alignUp, BUNDLE_PAGE_BYTES, type WeightDtype } from "@flashlm/contracts";

/** A tensor as a safetensors header names it; `offsetBytes` counts from the start of the file's data. */
export interface HeaderEntry {
  readonly name: string;
  readonly dtype: "U8" | "U32" | "F32" | "F16" | "BF16";
  readonly shape: readonly number[];
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** safetensors dtype of weights; blocks have none, so they are stored as bytes. */
export function headerDtype(dtype: WeightDtype): HeaderEntry["dtype"] {
  if (dtype === "f32") return "F32";
  if (dtype === "f16") return "F16";
  return dtype === "bf16" ? "BF16" : "U8";
}

/**
 * Bytes before the data of a safetensors file: length, JSON and spaces up to a multiple of 4096. Strict readers allow
 * no gaps between tensors, so gaps and the tail (up to `dataBytes`) become U8 tensors `__pad.N`. `entries` ascend.
 */
export function encodeHeader(entries: readonly HeaderEntry[], dataBytes: number): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: "flashlm-bundle-v1" } };
  let padCount = 0;
  let end = 0;
  const padUntil = (offsetBytes: number): void => {
    if (offsetBytes === end) return;
    header[`__pad.${padCount++}`] = {
      dtype: "U8",
      shape: [offsetBytes - end],
      data_offsets: [end, offsetBytes],
    };
  };
  for (const entry of entries) {
    padUntil(entry.offsetBytes);
    end = entry.offsetBytes + entry.lengthBytes;
    header[entry.name] = { dtype: entry.dtype, shape: entry.shape, data_offsets: [entry.offsetBytes, end] };
  }
  padUntil(dataBytes);
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(alignUp(8 + text.length, BUNDLE_PAGE_BYTES)).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - 8), true);
  bytes.set(text, 8);
  return bytes;
}
