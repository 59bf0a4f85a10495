import ts from "typescript";
import type { Finding, SourceText } from "./rule.js";

/** A reader keeps about this much in mind; measured on codebases that stay tidy. */
export const FILE_LINES_MAX = 400;
/** One screen. */
export const FUNCTION_LINES_MAX = 70;
/** Names that say neither what they count nor in which unit. */
export const BANNED_NAMES: ReadonlySet<string> = new Set([
  "len",
  "buf",
  "size",
  "ttl",
  "cfg",
  "ctx",
  "timeout",
]);

function parse({ path, text }: SourceText): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
}

function lineOf(file: ts.SourceFile, position: number): number {
  return file.getLineAndCharacterOfPosition(position).line + 1;
}

/** Files longer than {@link FILE_LINES_MAX}. */
export function checkFileLength({ path, text }: SourceText): Finding[] {
  const count = text.replace(/\n$/, "").split("\n").length;
  return count > FILE_LINES_MAX
    ? [{ path, message: `${count} lines, at most ${FILE_LINES_MAX}: split it` }]
    : [];
}

/** Functions longer than {@link FUNCTION_LINES_MAX}, from the signature to the closing brace. A suite is no function. */
export function checkFunctionLength(source: SourceText): Finding[] {
  const file = parse(source);
  const findings: Finding[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && "body" in node && node.body !== undefined && !isSuiteBody(node)) {
      const first = lineOf(file, node.getStart(file));
      const count = lineOf(file, node.end) - first + 1;
      if (count > FUNCTION_LINES_MAX) {
        findings.push({
          path: `${source.path}:${first}`,
          message: `function of ${count} lines, at most ${FUNCTION_LINES_MAX}`,
        });
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return findings;
}

/** A function that registers tests is as long as its list of tests; each of those is measured on its own. */
function isSuiteBody(node: ts.SignatureDeclaration & { readonly body?: ts.Node | undefined }): boolean {
  if (ts.isCallExpression(node.parent) && /^(describe|suite)\b/.test(node.parent.expression.getText()))
    return true;
  if (node.body === undefined || !ts.isBlock(node.body)) return false;
  return node.body.statements.some(
    (statement) =>
      ts.isExpressionStatement(statement) &&
      ts.isCallExpression(statement.expression) &&
      /^(describe|suite|test|it)\b/.test(statement.expression.expression.getText()),
  );
}

/** Top-level `let` and `var`: state that every importer shares. */
export function checkTopLevelLet(source: SourceText): Finding[] {
  const file = parse(source);
  return file.statements.filter(ts.isVariableStatement).flatMap((statement) => {
    const declared =
      statement.modifiers?.some((modifier) => modifier.kind === ts.SyntaxKind.DeclareKeyword) ?? false;
    const constant = (statement.declarationList.flags & ts.NodeFlags.Const) !== 0;
    if (constant || declared) return [];
    return [
      {
        path: `${source.path}:${lineOf(file, statement.getStart(file))}`,
        message: "top-level let: pass state in instead",
      },
    ];
  });
}

function isExported(node: ts.Node): boolean {
  return (
    ts.canHaveModifiers(node) &&
    (ts.getModifiers(node)?.some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword) ?? false)
  );
}

function isHidden(node: ts.Node): boolean {
  const hidden = [ts.SyntaxKind.PrivateKeyword, ts.SyntaxKind.ProtectedKeyword];
  return (
    ts.canHaveModifiers(node) &&
    (ts.getModifiers(node)?.some((modifier) => hidden.includes(modifier.kind)) ?? false)
  );
}

/** Bare names of {@link BANNED_NAMES} in what a file exports: the declaration, its parameters, its members; not its body. */
export function checkExportedNames(source: SourceText): Finding[] {
  const file = parse(source);
  const findings: Finding[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isBlock(node) || isHidden(node)) return;
    const name = (node as Partial<ts.NamedDeclaration>).name;
    if (name !== undefined && ts.isIdentifier(name) && BANNED_NAMES.has(name.text)) {
      const message = `exported name "${name.text}" says neither what nor in which unit (lengthBytes, timeoutMs, ...)`;
      findings.push({ path: `${source.path}:${lineOf(file, name.getStart(file))}`, message });
    }
    if (
      ts.isVariableDeclaration(node) &&
      node.initializer !== undefined &&
      !ts.isFunctionLike(node.initializer)
    ) {
      if (node.type !== undefined) visit(node.type);
      return;
    }
    ts.forEachChild(node, visit);
  };
  for (const statement of file.statements) if (isExported(statement)) visit(statement);
  return findings;
}
