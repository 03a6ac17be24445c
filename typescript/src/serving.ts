/** Services and what runs their handlers, from what a server or a client was given. */

import { Dispatcher, type SessionFactory } from "./dispatch.js";
import { ConfigurationError, UsageError } from "./errors.js";
import type { ServedService } from "./native/types.js";
import { contractOf } from "./port.js";
import { type ServiceClass, specOfClass } from "./service/decorators.js";
import { asImplementation, checkHandlers, type ServiceImplementation, specOfDefinition } from "./service/define.js";
import { type ServiceSpec, show } from "./service/model.js";

/** What whoever offers services can be told about them. */
export interface ServingOptions {
  /**
   * Instances of service classes, and what `implement()` gives. Of a session service the instance is a template, or give the
   * class itself: each session gets an instance made by the class, whose constructor is given the caller's endpoint id.
   */
  services: readonly (object | ServiceClass | ServiceImplementation)[];
  /** For session services whose constructor takes more: `new Map([[AgentSession, (peer) => new AgentSession(peer, db)]])`. */
  factories?: ReadonlyMap<ServiceClass, SessionFactory> | undefined;
  /** Callers see the text of unexpected errors, for development. Otherwise they see an error id only. */
  exposeErrors?: boolean | undefined;
}

export const SERVING_OPTIONS: readonly string[] = ["services", "factories", "exposeErrors"];

interface Prepared {
  readonly spec: ServiceSpec;
  readonly instance: object | null;
  readonly factory: SessionFactory | null;
  /** What the service was given as, to say twice of. */
  readonly given: object;
}

/** Checks what is offered, and makes what serves it. Throws what keeps it from being served. */
export function prepareServing(options: ServingOptions): { served: ServedService[]; dispatcher: Dispatcher } {
  const prepared = options.services.map((service) => prepare(service, options.factories));
  checkNames(prepared, options.factories);
  const exposeErrors = options.exposeErrors === true;
  const served = prepared.map(({ spec }) => ({ contract: contractOf(spec), exposeErrors }));
  const dispatcher = new Dispatcher();
  for (const { spec, instance, factory } of prepared) dispatcher.add(spec, instance, factory);
  return { served, dispatcher };
}

function prepare(service: object | ServiceClass, factories: ServingOptions["factories"]): Prepared {
  if ((typeof service !== "object" && typeof service !== "function") || service === null) {
    throw new UsageError(`services has instances of service classes, and got ${show(service)}`);
  }
  const implementation = asImplementation(service);
  if (implementation !== undefined) {
    const spec = specOfDefinition(implementation.definition)!;
    refuseUnchecked(spec);
    const { handlers, factory } = implementation;
    const checked =
      factory === null
        ? null
        : (peer: string): object => {
            const made = factory(peer);
            checkHandlers(spec.where, spec.methods(), made);
            return made;
          };
    return { spec, instance: handlers, factory: checked, given: implementation.definition };
  }
  const isClass = typeof service === "function";
  const cls = isClass ? service : service.constructor;
  if (!isClass && specOfDefinition(service) !== undefined) {
    throw new ConfigurationError(
      "services has a definition without handlers; give what its implement({ ... }) returns",
    );
  }
  const spec = specOfClass(cls);
  spec.methods(); // so that a type that cannot be sent is named before anything is served
  refuseUnchecked(spec);
  if (spec.session) {
    return { spec, instance: null, factory: sessionFactory(cls as ServiceClass, spec, factories), given: spec };
  }
  if (isClass) {
    throw new ConfigurationError(
      `the service ${spec.name} is shared, so services takes an instance of it: new ${spec.where}()`,
    );
  }
  return { spec, instance: service, factory: null, given: spec };
}

function sessionFactory(cls: ServiceClass, spec: ServiceSpec, factories: ServingOptions["factories"]): SessionFactory {
  const given = factories?.get(cls);
  if (given !== undefined) return given;
  if (cls.length > 1) {
    throw new ConfigurationError(
      `the service ${spec.name} makes an instance of ${cls.name} for each session, and its constructor takes ${cls.length} ` +
        `parameters where there is the peer alone; give factories: new Map([[${cls.name}, (peer) => new ${cls.name}(...)]])`,
    );
  }
  const Session = cls as unknown as new (peer: string) => object;
  return (peer) => new Session(peer);
}

function refuseUnchecked(spec: ServiceSpec): void {
  const where = `the service ${spec.name}`;
  const method = spec.methods().find((each) => each.requires !== null);
  if (method !== undefined) {
    throw new ConfigurationError(
      `${where} does not start: ${spec.name}.${method.name} has requires, and this version of Aster cannot check ` +
        "capabilities yet, so it would be open to everybody; remove requires to serve it openly",
    );
  }
  if (spec.requires !== null) {
    throw new ConfigurationError(
      `${where} does not start: it has requires, and this version of Aster cannot check capabilities yet, so ` +
        `${spec.name}.${spec.methods()[0]!.name} and the rest would be open to everybody; remove requires to serve it openly`,
    );
  }
  if (spec.interceptors.length > 0) {
    throw new ConfigurationError(
      `${where} does not start: it has interceptors, which this version of Aster does not run yet; remove interceptors`,
    );
  }
}

function checkNames(
  prepared: readonly Prepared[],
  factories: ReadonlyMap<ServiceClass, SessionFactory> | undefined,
): void {
  const seen = new Map<string, Prepared>();
  for (const each of prepared) {
    const key = `${each.spec.name} version ${each.spec.version}`;
    const other = seen.get(key);
    if (other !== undefined) {
      throw new ConfigurationError(
        other.given === each.given
          ? `services has ${key} twice; leave one out`
          : `${other.spec.where} and ${each.spec.where} are both ${key}; give one of them another name or version`,
      );
    }
    seen.set(key, each);
  }
  const sessions = new Set(prepared.filter(({ spec }) => spec.session).map(({ spec }) => spec.cls));
  for (const cls of factories?.keys() ?? []) {
    if (!sessions.has(cls as never)) {
      throw new ConfigurationError(`factories names ${cls.name}, which is not a session service in services`);
    }
  }
}
