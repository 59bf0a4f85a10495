/** The part of WebAssembly that is used here; the DOM types, which have it, are not loaded. */
declare namespace WebAssembly {
  class Memory {
    constructor(options: { readonly initial: number; readonly maximum: number; readonly shared: true });
    readonly buffer: SharedArrayBuffer;
  }
}
