/** The native layer as this environment (the main thread, or a worker) uses it: loaded once, at first use. */

import { decodeAny, encodeAny } from "./codec/codec.js";
import { AsterError, errorFromStatus, StatusCode } from "./errors.js";
import { log, logLevel, onLoggerChange } from "./logs.js";
import { native as load } from "./native/index.js";
import type { Contract, Native, Port } from "./native/types.js";
import { describeService } from "./service/describe.js";
import type { ServiceSpec } from "./service/model.js";

let loaded: Native | null = null;
let opened: Port | null = null;

export function native(): Native {
  if (loaded === null) {
    const module = load();
    const route = (): void =>
      module.logsTo((records) => {
        for (const { level, target, text } of records) log(level as "warn", `${target.replaceAll("::", ".")}: ${text}`);
      }, logLevel());
    route();
    onLoggerChange(route);
    loaded = module;
  }
  return loaded;
}

/** The port of this environment. */
export function port(): Port {
  opened ??= native().port((status) => {
    if (status.code === StatusCode.CONTRACT_MISMATCH) epoch++;
    return errorFromStatus(status, decodeAny);
  });
  return opened;
}

let epoch = 0;

/** Another number once a server has served another contract than the one a call went by: what is kept may be old. */
export function contractEpoch(): number {
  return epoch;
}

const contracts = new WeakMap<ServiceSpec, Contract>();

/** The compiled contract of a service, made once. */
export function contractOf(spec: ServiceSpec): Contract {
  let contract = contracts.get(spec);
  if (contract === undefined) {
    const description = encodeAny(describeService(spec));
    try {
      contract = native().contract(description);
    } catch (error) {
      throw new AsterError(
        `the service ${spec.name} (${spec.where}) has no valid contract: ${(error as Error).message}`,
        { cause: error },
      );
    }
    contracts.set(spec, contract);
  }
  return contract;
}
