/** A breach of a rule: where, and what to do. */
export interface Finding {
  readonly path: string;
  readonly message: string;
}

/** A file as the rules see it; `path` is relative to the root of the repository, with forward slashes. */
export interface SourceText {
  readonly path: string;
  readonly text: string;
}

/** Findings as lines for an assertion message. */
export function lines(findings: readonly Finding[]): string[] {
  return findings.map(({ path, message }) => `${path}: ${message}`);
}
