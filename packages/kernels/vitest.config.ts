import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  test: { name: "kernels", pool: "forks", testTimeout: 60_000, hookTimeout: 60_000 },
});

export default config;
