/** The part of WebAssembly that is used here; the DOM types, which have it, are not loaded. */
declare namespace WebAssembly {
  class Memory {
    constructor(options: { readonly initial: number });
    readonly buffer: ArrayBuffer;
  }
}
