/** The hooks for Node before 22.15, which runs them in a thread of their own. */

import type { LoadHook, ResolveHook } from "node:module";

import { Loader } from "./register-loader.js";

const loader = new Loader();

export const resolve: ResolveHook = async (specifier, context, nextResolve) => {
  const url = loader.resolve(specifier, context.parentURL);
  return url === undefined ? nextResolve(specifier, context) : { url, shortCircuit: true };
};

export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = loader.load(url);
  return loaded === undefined ? nextLoad(url, context) : { ...loaded, shortCircuit: true };
};
