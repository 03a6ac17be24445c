/** Where the package and the core say what nobody awaits: the console, unless the program gives another logger. */

import { inspect } from "node:util";
import { UsageError } from "./errors.js";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

/** What takes log records; `console` and most loggers are one. */
export interface Logger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

const LEVELS: readonly LogLevel[] = ["trace", "debug", "info", "warn", "error"];

/** Standard output belongs to the program. */
const toStandardError: Logger = {
  debug: (message) => console.error(message),
  info: (message) => console.error(message),
  warn: (message) => console.error(message),
  error: (message) => console.error(message),
};

let logger: Logger = toStandardError;
let threshold: LogLevel = "warn";
let changed: (() => void) | null = null;

/** Sends records from `level` on to `to`; the default is warnings and errors, to standard error. */
export function setLogger(to: Logger, level: LogLevel = "info"): void {
  if (!LEVELS.includes(level))
    throw new UsageError(`the log level is one of ${LEVELS.join(", ")}, and got ${inspect(level)}`);
  logger = to;
  threshold = level;
  changed?.();
}

export function logLevel(): LogLevel {
  return threshold;
}

/** Called when the logger is another one. */
export function onLoggerChange(callback: () => void): void {
  changed = callback;
}

export function log(level: LogLevel, text: string): void {
  if (LEVELS.indexOf(level) < LEVELS.indexOf(threshold)) return;
  try {
    if (level === "trace" || level === "debug") logger.debug(text);
    else logger[level](text);
  } catch (error) {
    // A logger that fails must not end the call that logged.
    console.error(`the logger failed: ${inspect(error)}; it was given: ${text}`);
  }
}

/** What was thrown, for a log record: with the stack where there is one. */
export function shown(thrown: unknown): string {
  return inspect(thrown);
}
