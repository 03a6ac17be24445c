/** Programs run as a user runs them: in processes of their own, watched through what they print. */

import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const TYPESCRIPT = fileURLToPath(new URL("../missionControl/", import.meta.url));
const PYTHON = fileURLToPath(new URL("../../python/mission_control/", import.meta.url));
const ROOT = fileURLToPath(new URL("../", import.meta.url));
const bin = (name: string): string => `${ROOT}node_modules/.bin/${name}`;

/** Long enough for a loaded machine. */
const PATIENCE_MS = 30_000;

const environment = fileURLToPath(new URL("../../../.venv/bin/python", import.meta.url));
const python = process.env.PYTHON ?? (existsSync(environment) ? environment : "python3");

/** The ways to start a TypeScript program. */
export const runtimes: Readonly<Record<string, readonly string[]>> = {
  "node with the register hook": [process.execPath, "--import", "@aster-rpc/aster/register"],
  tsx: [bin("tsx")],
  bun: [bin("bun"), "run"],
};

/** A running program; its output arrives line by line. */
export class Program implements AsyncDisposable {
  readonly name: string;
  errors: string;
  readonly process: ChildProcessWithoutNullStreams;
  readonly lines: AsyncIterator<string>;
  readonly ended: Promise<number | NodeJS.Signals>;

  constructor(command: string, ...args: string[]) {
    this.name = args.find((each) => /\.(ts|py)$/.test(each)) ?? command;
    this.errors = "";
    // A group of its own, as a terminal makes one: tsx runs the program in a process below its own.
    const options = { cwd: ROOT, env: { ...process.env, PYTHONUNBUFFERED: "1" }, detached: true };
    this.process = spawn(command, args, options);
    this.process.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.errors += text;
    });
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
    this.ended = new Promise((resolve) => {
      this.process.once("close", (code, signal) => resolve((code ?? signal)!));
    });
  }

  /** The next line of standard output. */
  async line(): Promise<string> {
    const { value, done } = await within(this.lines.next(), () => `${this.name} printed nothing; stderr:\n${this.errors}`);
    assert.ok(!done, `${this.name} ended early; stderr:\n${this.errors}`);
    return value;
  }

  async take(count: number): Promise<string[]> {
    const found: string[] = [];
    while (found.length < count) found.push(await this.line());
    return found;
  }

  /** All lines that are left, when the program ends by itself. */
  async rest(): Promise<string[]> {
    const found: string[] = [];
    for (;;) {
      const { value, done } = await within(this.lines.next(), () => `${this.name} did not end; it printed ${found}`);
      if (done) return found;
      found.push(value);
    }
  }

  exitCode(): Promise<number | NodeJS.Signals> {
    return within(this.ended, () => `${this.name} still runs; stderr:\n${this.errors}`);
  }

  /** What Ctrl-C sends, to all processes of the group. */
  interrupt(): void {
    process.kill(-this.process.pid!, "SIGINT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      process.kill(-this.process.pid!, "SIGKILL");
    } catch {
      // All of them have ended.
    }
    await this.ended;
  }
}

async function within<T>(promise: Promise<T>, text: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new assert.AssertionError({ message: text() })), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A TypeScript program of the guide, in one of the runtimes. */
export function inTypeScript(runtime: string, script: string, ...args: string[]): Program {
  const [command, ...before] = runtimes[runtime]!;
  return new Program(command!, ...before, TYPESCRIPT + script, ...args);
}

/** A Python program of the guide. */
export function inPython(script: string, ...args: string[]): Program {
  return new Program(python, PYTHON + script, ...args);
}

/** The address that a control plane prints first. */
export async function addressOf(server: Program): Promise<string> {
  const line = await server.line();
  assert.match(line, /^aster1[1-9A-HJ-NP-Za-km-z]+$/);
  return line;
}

/** What tsx and Bun need once, and the register hook does by itself. */
export function generate(): void {
  const done = spawnSync(bin("aster-gen"), ["--quiet"], { cwd: ROOT, encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
}
