import { defineConfig } from "tsup";

export default defineConfig({
  entry: { index: "src/index.ts", "wasm-worker": "src/wasm/worker.ts" },
  format: ["esm"],
  dts: { entry: { index: "src/index.ts" } },
  sourcemap: true,
  // asc has written kernels.wasm there already.
  clean: false,
  target: "node20",
});
