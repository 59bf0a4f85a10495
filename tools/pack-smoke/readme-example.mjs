/** First fenced ```js block of a markdown text, or undefined. */
export function firstExample(markdown) {
  return /^```js\r?\n([\s\S]*?)^```/m.exec(markdown)?.[1];
}

/** Names of workspace packages that a package needs when it is installed, itself left out, transitively. */
export function workspaceDependencies(name, manifests) {
  const found = new Set();
  const visit = (current) => {
    for (const dependency of Object.keys(manifests.get(current)?.dependencies ?? {})) {
      if (!manifests.has(dependency) || found.has(dependency) || dependency === name) continue;
      found.add(dependency);
      visit(dependency);
    }
  };
  visit(name);
  return [...found].sort();
}
