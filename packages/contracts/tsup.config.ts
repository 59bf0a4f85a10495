import { defineConfig } from "tsup";

export default defineConfig({
  entry: { index: "src/index.ts", testing: "testing/index.ts" },
  external: ["vitest"],
  format: ["esm"],
  dts: true,
  sourcemap: true,
  clean: true,
  target: "node20",
});
