import { defineConfig } from "tsup";

export default defineConfig({
  entry: {
    index: "src/index.ts",
    "node-reader-worker": "src/node-reader-worker.ts",
    addon: "../../tools/native/addon.mjs",
  },
  format: ["esm"],
  dts: { entry: "src/index.ts" },
  sourcemap: true,
  clean: true,
  splitting: false,
  target: "node20",
});
