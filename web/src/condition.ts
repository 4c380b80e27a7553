// Conditions of the filter: `lr > 1e-3 and model in ["mlp", "cnn"] and top1_accuracy >= 0.9 and not failed`.
//
// The notation is that of `where:` and `--where`, plus what the page has beside knobs: metrics, `run`, `state`,
// `epoch`, `epochs`, `seed`, and a state's name alone. Text without an operator is looked for in the state, the
// knobs and the error.
import type { Knob, Metric, Plain, Run } from "./model";
import { STATES } from "./model";

export type Test = (run: Run) => boolean;
export type Condition = { test: Test; error?: undefined } | { test?: undefined; error: string };
type Value = Plain | undefined;
type Term = (run: Run) => Value;
interface Token { kind: "word" | "number" | "text" | "sign"; text: string; at: number }

const TOKEN = /\s*(?:(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(==|!=|<=|>=|<|>|\(|\)|\[|\]|,)|([A-Za-z_][\w.-]*))/y;
const SIGNS = new Set(["==", "!=", "<", "<=", ">", ">="]);
const WORDS = new Set(["and", "or", "not", "in"]);

export function condition(text: string, metrics: Metric[], knobs: Knob[]): Condition {
  if (!text.trim()) return { test: () => true };
  const names = vocabulary(metrics, knobs);
  try {
    return { test: new Reader(tokens(text), names).whole() };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const looksLikeOne = /[<>=!]|\bin\s*\[/.test(text);
    return looksLikeOne ? { error: error.message } : { test: searching(text) };
  }
}

function vocabulary(metrics: Metric[], knobs: Knob[]): Map<string, Term> {
  const names = new Map<string, Term>();
  for (const each of metrics) {
    const value: Term = (run) => run.metrics.get(each.key);
    names.set(each.key, value);
    if (each.split === "validation" || !names.has(each.name)) names.set(each.name, value);
  }
  knobs.forEach(({ path, short }, at) => {
    const value: Term = (run) => run.knobs[at];
    names.set(short, value);
    names.set(path, value);
  });
  names.set("run", (run) => run.number);
  names.set("state", (run) => run.state);
  names.set("epoch", (run) => run.epoch);
  names.set("epochs", (run) => run.epochs);
  names.set("seed", (run) => run.seed);
  return names;
}

function searching(text: string): Test {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (run) => {
    const whole = [run.number, run.state, run.error, ...run.knobs.map((knob) => JSON.stringify(knob) ?? "")];
    const found = whole.join(" ").toLowerCase();
    return words.every((word) => found.includes(word));
  };
}

function tokens(text: string): Token[] {
  const found: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) throw new SyntaxError(`unexpected \`${text.slice(at).trim()[0]}\``);
    const [, digits, quoted, sign, word] = match;
    if (digits !== undefined) found.push({ kind: "number", text: digits, at });
    else if (quoted !== undefined) found.push({ kind: "text", text: quoted.slice(1, -1).replace(/\\(.)/g, "$1"), at });
    else if (sign !== undefined) found.push({ kind: "sign", text: sign, at });
    else found.push({ kind: "word", text: word!, at });
  }
  return found;
}

class Reader {
  private at = 0;

  constructor(private readonly tokens: Token[], private readonly names: Map<string, Term>) {}

  whole(): Test {
    const found = this.either();
    if (this.at < this.tokens.length) throw new SyntaxError(`unexpected \`${this.tokens[this.at]!.text}\``);
    return found;
  }

  private either(): Test {
    const parts = [this.both()];
    while (this.takes("or")) parts.push(this.both());
    return parts.length === 1 ? parts[0]! : (run) => parts.some((part) => part(run));
  }

  private both(): Test {
    const parts = [this.negated()];
    while (this.takes("and")) parts.push(this.negated());
    return parts.length === 1 ? parts[0]! : (run) => parts.every((part) => part(run));
  }

  private negated(): Test {
    if (this.takes("not")) {
      const inner = this.negated();
      return (run) => !inner(run);
    }
    if (this.takes("(")) {
      const inner = this.either();
      if (!this.takes(")")) throw new SyntaxError("missing `)`");
      return inner;
    }
    return this.comparison();
  }

  private comparison(): Test {
    const token = this.tokens[this.at];
    if (token?.kind === "word" && STATES.includes(token.text as never) && !SIGNS.has(this.tokens[this.at + 1]?.text ?? "")) {
      this.at += 1;
      return (run) => run.state === token.text;
    }
    const terms = [this.term()];
    const signs: string[] = [];
    while (SIGNS.has(this.tokens[this.at]?.text ?? "") && this.tokens[this.at]!.kind === "sign") {
      signs.push(this.tokens[this.at++]!.text);
      terms.push(this.term());
    }
    if (signs.length) {
      return (run) => {
        const values = terms.map((term) => term(run));
        return signs.every((sign, i) => compare(sign, values[i], values[i + 1]));
      };
    }
    const negated = this.takes("not");
    if (!this.takes("in")) throw new SyntaxError("expected a comparison, such as `lr > 0.01`");
    const items = this.list();
    const [term] = terms as [Term];
    return (run) => {
      const value = term(run);
      return value !== undefined && items.some((item) => same(item(run), value)) !== negated;
    };
  }

  private list(): Term[] {
    if (!this.takes("[")) throw new SyntaxError("expected a list after `in`, such as `[1, 2]`");
    const items: Term[] = [];
    while (!this.takes("]")) {
      items.push(this.term());
      if (!this.takes(",") && this.tokens[this.at]?.text !== "]") throw new SyntaxError("missing `]`");
    }
    return items;
  }

  private term(): Term {
    const token = this.tokens[this.at++];
    if (!token) throw new SyntaxError("the condition is incomplete");
    if (token.kind === "number") return constant(Number(token.text));
    if (token.kind === "text") return constant(token.text);
    if (token.kind === "sign" || WORDS.has(token.text)) throw new SyntaxError(`unexpected \`${token.text}\``);
    const lower = token.text.toLowerCase();
    if (lower === "true" || lower === "false") return constant(lower === "true");
    if (lower === "null" || lower === "none") return constant(null);
    const known = this.names.get(token.text);
    if (known) return known;
    if (SIGNS.has(this.tokens[this.at - 2]?.text ?? "") && STATES.includes(token.text as never)) return constant(token.text);
    throw new SyntaxError(`unknown name \`${token.text}\`; known: ${[...new Set(this.names.keys())].slice(0, 12).join(", ")}`);
  }

  private takes(text: string): boolean {
    const token = this.tokens[this.at];
    if (!token || token.kind === "text" || token.text !== text) return false;
    this.at += 1;
    return true;
  }
}

function constant(value: Value): Term {
  return () => value;
}

function same(a: Value, b: Value): boolean {
  return a === b || (typeof a === "object" && JSON.stringify(a) === JSON.stringify(b));
}

function compare(sign: string, a: Value, b: Value): boolean {
  if (a === undefined || b === undefined) return false;
  if (sign === "==") return same(a, b);
  if (sign === "!=") return !same(a, b);
  if (typeof a !== typeof b || (typeof a !== "number" && typeof a !== "string")) return false;
  const [left, right] = [a as number | string, b as number | string];
  if (sign === "<") return left < right;
  if (sign === "<=") return left <= right;
  if (sign === ">") return left > right;
  return left >= right;
}
