import { existsSync, readdirSync } from "node:fs";
import { defineConfig, type TestProjectConfiguration, type ViteUserConfig } from "vitest/config";

/** Generous: two cores may be shared with a build. A test that needs more is too long. */
const TEST_LIMIT_MS = 60_000;

function project(root: string): TestProjectConfiguration {
  if (existsSync(`${root}/vitest.config.ts`)) return root;
  return { extends: true, root, test: { name: root.split("/").at(-1) ?? root } };
}

const folders = ["packages", "apps"].flatMap((group) =>
  readdirSync(new URL(group, import.meta.url), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `./${group}/${entry.name}`),
);

const config: ViteUserConfig = defineConfig({
  test: {
    projects: [...folders, "./tools"].map(project),
    pool: "forks",
    maxWorkers: 2,
    testTimeout: TEST_LIMIT_MS,
    hookTimeout: TEST_LIMIT_MS,
    passWithNoTests: false,
  },
});

export default config;
