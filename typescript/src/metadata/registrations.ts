/**
 * What transformed modules say about themselves. The register hook and the Vite plugin put one statement in front of
 * each module that declares wire types or services; it pushes a registration to an array that all copies of this
 * package in a process share. A statement that imports nothing works in every module system and never fails.
 */

import type { SourceMetadata, TypeKey } from "./types.js";

/** One module's registration. */
export interface Registration {
  /** Which project the keys belong to: its folder, or its name where the program is built to run elsewhere. */
  readonly root: string;
  /** All that the module declares, with everything its types reach. */
  readonly metadata: SourceMetadata;
  /** Where decorated classes are that were not read, being inside functions or expressions: `a.ts:3:5` by name. */
  readonly skipped: Readonly<Record<string, string>>;
  /** The classes that the module declares. They throw until the module has run that far. */
  readonly classes: Readonly<Record<TypeKey, () => unknown>>;
}

/** The number is that of the form of `Registration`. */
export const REGISTRATIONS = "@aster-rpc/aster/metadata/1";

/** The registrations so far. */
export function registrations(): Registration[] {
  const shared = globalThis as { [REGISTRATIONS: symbol]: Registration[] | undefined };
  const key = Symbol.for(REGISTRATIONS);
  shared[key] ??= [];
  return shared[key];
}
