import { defineConfig } from "tsup";

export default defineConfig({
  entry: {
    index: "src/index.ts",
    "wasm-worker": "src/wasm/worker.ts",
    addon: "../../tools/native/addon.mjs",
  },
  format: ["esm"],
  dts: { entry: { index: "src/index.ts" } },
  sourcemap: true,
  // asc has written kernels.wasm there already.
  clean: false,
  splitting: false,
  target: "node20",
});
