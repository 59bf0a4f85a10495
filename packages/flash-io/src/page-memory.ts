/** The one part of WebAssembly that is used: memory whose address is a multiple of the page size. */
interface WasmMemoryConstructor {
  new (descriptor: {
    readonly initial: number;
    readonly maximum: number;
    readonly shared: true;
  }): { readonly buffer: SharedArrayBuffer };
}

const WASM_PAGE_BYTES = 65536;

/**
 * Shared memory that starts on a page. A plain SharedArrayBuffer comes from malloc and does not, so that direct
 * reads into it would need a detour. @throws RangeError when the memory is not to be had (over 4 GiB never is).
 */
export function allocatePages(lengthBytes: number): Uint8Array {
  const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: WasmMemoryConstructor } })
    .WebAssembly;
  const pageCount = Math.max(1, Math.ceil(lengthBytes / WASM_PAGE_BYTES));
  return new Uint8Array(new Memory({ initial: pageCount, maximum: pageCount, shared: true }).buffer);
}
