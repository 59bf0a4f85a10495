import { defineConfig } from "tsup";

export default defineConfig({
  entry: ["src/index.ts", "src/node-reader-worker.ts"],
  format: ["esm"],
  dts: { entry: "src/index.ts" },
  sourcemap: true,
  clean: true,
  splitting: false,
  target: "node20",
});
