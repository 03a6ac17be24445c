/** What initialisers tell: whether a number is an integer, the type of a field without one, values of enums. */

import type { Expression, TSEnumDeclaration, VariableDeclarator } from "oxc-parser";

/** An expression without the parts that are only for the compiler, such as `as const`. */
export function bare(expression: Expression): Expression {
  let inner = expression;
  while (
    inner.type === "TSAsExpression" ||
    inner.type === "TSSatisfiesExpression" ||
    inner.type === "TSNonNullExpression" ||
    inner.type === "TSTypeAssertion" ||
    inner.type === "ParenthesizedExpression"
  ) {
    inner = inner.expression;
  }
  return inner;
}

/** The digits of a number literal, with its sign; undefined for any other expression. */
function numberText(expression: Expression): string | undefined {
  const inner = bare(expression);
  if (inner.type === "UnaryExpression" && (inner.operator === "-" || inner.operator === "+")) {
    const digits = numberText(inner.argument);
    return digits === undefined ? undefined : inner.operator + digits;
  }
  if (inner.type !== "Literal" || typeof inner.value !== "number") return undefined;
  return inner.raw ?? String(inner.value);
}

/**
 * How a `number` travels, from its initialiser: integer literals are integers, literals with a point or an exponent and absent
 * initialisers are floats. Undefined if the initialiser is none of these.
 */
export function numberKind(
  initialiser: Expression | null,
): { readonly kind: "i64" | "f64"; readonly why: string } | undefined {
  if (initialiser === null || isNothing(initialiser)) return { kind: "f64", why: "no initialiser" };
  const text = numberText(initialiser);
  if (text === undefined) return undefined;
  const integer = /^[-+]*(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*)$/.test(text);
  return { kind: integer ? "i64" : "f64", why: `= ${text}` };
}

/** `null` or `undefined`, which say nothing of a type. */
export function isNothing(expression: Expression): boolean {
  const inner = bare(expression);
  return (
    (inner.type === "Literal" && inner.value === null && inner.raw === "null") ||
    (inner.type === "Identifier" && inner.name === "undefined")
  );
}

/** A string known from the source alone. */
export function stringValue(expression: Expression): string | undefined {
  const inner = bare(expression);
  if (inner.type === "Literal" && typeof inner.value === "string") return inner.value;
  if (inner.type === "TemplateLiteral" && inner.expressions.length === 0)
    return inner.quasis[0]?.value.cooked ?? undefined;
  return undefined;
}

function constantValue(expression: Expression): string | number | undefined {
  const text = numberText(expression);
  return text === undefined ? stringValue(expression) : Number(text.replaceAll("_", ""));
}

export interface NamedValue {
  readonly name: string;
  readonly value: string | number;
}

/** The members of an enum, or the first member whose value is not a literal. */
export function enumValues(node: TSEnumDeclaration): NamedValue[] | { readonly start: number } {
  const values: NamedValue[] = [];
  let next: number | undefined = 0;
  for (const member of node.body.members) {
    const name =
      member.id.type === "Identifier" ? member.id.name : member.id.type === "Literal" ? member.id.value : undefined;
    const value: string | number | undefined = member.initializer === null ? next : constantValue(member.initializer);
    if (name === undefined || value === undefined) return member;
    values.push({ name, value });
    next = typeof value === "number" ? value + 1 : undefined;
  }
  return values;
}

/** The entries of `{ … } as const` or `[ … ] as const`; undefined if it is something else. */
export function constValues(node: VariableDeclarator): { values: NamedValue[]; list: boolean } | undefined {
  if (node.init === null || !isConst(node.init)) return undefined;
  const inner = bare(node.init);
  const values: NamedValue[] = [];
  if (inner.type === "ObjectExpression") {
    for (const property of inner.properties) {
      if (property.type !== "Property" || property.computed) return undefined;
      const key = property.key;
      const name = key.type === "Identifier" ? key.name : key.type === "Literal" ? String(key.value) : undefined;
      const value = constantValue(property.value);
      if (name === undefined || value === undefined) return undefined;
      values.push({ name, value });
    }
    return { values, list: false };
  }
  if (inner.type === "ArrayExpression") {
    for (const element of inner.elements) {
      const value = element === null || element.type === "SpreadElement" ? undefined : stringValue(element);
      if (value === undefined) return undefined;
      values.push({ name: value, value });
    }
    return { values, list: true };
  }
  return undefined;
}

function isConst(expression: Expression): boolean {
  if (expression.type === "TSAsExpression" || expression.type === "TSTypeAssertion") {
    const type = expression.typeAnnotation;
    if (type.type === "TSTypeReference" && type.typeName.type === "Identifier" && type.typeName.name === "const")
      return true;
    return isConst(expression.expression);
  }
  if (expression.type === "TSSatisfiesExpression" || expression.type === "ParenthesizedExpression") {
    return isConst(expression.expression);
  }
  if (expression.type === "CallExpression" && expression.arguments.length === 1) {
    // Object.freeze({ … } as const)
    const argument = expression.arguments[0]!;
    return argument.type !== "SpreadElement" && isConst(argument);
  }
  return false;
}
