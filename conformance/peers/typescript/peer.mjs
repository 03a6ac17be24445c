/**
 * The TypeScript peer of the conformance suite: a client or a server that does what the runner asks.
 *
 *     node peer.mjs client|server
 *
 * One JSON object per line on standard input and output; conformance/README.md describes them. It is written against
 * the public package only, with `defineService()`, and needs no build step of its own.
 */

import { createInterface } from "node:readline";
import { AsterClient, AsterError, AsterServer, ContractMismatch, RpcError } from "@aster-rpc/aster";
import { CONTRACTS, served } from "./contracts.mjs";
import { hex, Neutral, unhex, writeAny } from "./neutral.mjs";
import { Account, all, Bench, ByJson, OldClash, OldDrift, Probe, Probe2, Values } from "./services.mjs";

const CALLED = [Probe, Probe2, Account, Values, ByJson, OldDrift, OldClash, ...CONTRACTS];

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function metadataOut(metadata) {
  return Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => [key, typeof value === "string" ? value : { hex: hex(value) }]),
  );
}

function metadataIn(metadata = {}) {
  return Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => [key, typeof value === "string" ? value : unhex(value.hex)]),
  );
}

/** An error of the SDK as the runner compares it. */
function failure(error) {
  if (!(error instanceof RpcError)) {
    return { code: "USAGE", message: error.message, class: error.constructor.name };
  }
  return {
    code: error.codeNumber === error.code ? error.codeName : `CODE_${error.codeNumber}`,
    message: error.rawMessage,
    details: writeAny(error.details),
    metadata: metadataOut(error.metadata),
    origin: error.origin,
    may_have_run: error.mayHaveRun,
    retry_after_ms: error.retryAfterMs,
    class: error.constructor.name,
  };
}

/** `idle_timeout_ms` as the package has it: `idleTimeoutMs`. */
function camelCase(options = {}) {
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), value]),
  );
}

class Server {
  neutral = new Neutral();
  bench = new Bench(say);

  async types({ types }) {
    this.neutral.learn(types);
  }

  async serve({ options }) {
    const services = [...all(this.bench), ...CONTRACTS.map(served)];
    this.server = new AsterServer({ services, preset: "local", ...camelCase(options) });
    await this.server.start();
    return { address: this.server.address };
  }

  async address() {
    return { address: this.server.address };
  }

  async release({ key }) {
    this.bench.release(key);
  }

  async seen({ key, type }) {
    const value = this.bench.seen.get(key);
    this.bench.seen.delete(key);
    return { value: this.neutral.write(type, value) };
  }

  async drain({ grace_ms }) {
    await this.server.drain({ graceMs: grace_ms });
  }

  async close() {
    await this.server.close();
  }
}

/** The messages of a client stream, as the runner sends them. */
class Outgoing {
  #queue = [];
  #wake = () => {};

  push(entry) {
    this.#queue.push(entry);
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#queue.length === 0) {
        await new Promise((resolve) => {
          this.#wake = resolve;
        });
      }
      const entry = this.#queue.shift();
      if (entry.end) return;
      yield entry.message;
    }
  }
}

/** Calls the first method of a service, in its own form. */
async function attempt(typed, definition, options) {
  const [[name, { pattern }]] = Object.entries(definition.methods);
  if (pattern === "client_stream") return typed[name]([], options);
  if (pattern === "bidi_stream") return typed[name].bidi(options).open();
  if (pattern === "server_stream") return typed[name].stream({}, options).open();
  return typed[name]({}, options);
}

class Client {
  neutral = new Neutral();
  #clients = new Map();
  #sessions = new Map();
  #calls = new Map();
  #streams = new Map();

  async types({ types }) {
    this.neutral.learn(types);
  }

  // ---------------------------------------------------------------- connections

  async connect({ client, addresses, options }) {
    const made = new AsterClient({ address: addresses, preset: "local", ...camelCase(options) });
    await made.connect();
    this.#clients.set(client, made);
    return { peer: made.peer };
  }

  async disconnect({ client }) {
    const closing = this.#clients.get(client);
    this.#clients.delete(client);
    await closing.close();
  }

  async ping({ client, timeout_ms }) {
    await this.#clients.get(client).ping(timeout_ms);
  }

  async services({ client }) {
    const offered = this.#clients.get(client).services();
    return { services: offered.map((each) => [each.name, each.version, each.contractId, each.scope]) };
  }

  /**
   * What becomes of a typed client of each service that is defined here. Contracts are compared by the first call, so one is
   * made whose time has passed already: it runs nothing.
   */
  async contracts({ client }) {
    const contracts = [];
    for (const definition of CALLED) {
      const typed = this.#clients.get(client).client(definition);
      let outcome = "ok";
      try {
        await attempt(typed, definition, { timeoutMs: 0 });
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        if (error instanceof ContractMismatch) outcome = `CONTRACT_MISMATCH: ${error.message}`;
      }
      contracts.push([definition.name, definition.version, outcome]);
    }
    return { contracts };
  }

  // ---------------------------------------------------------------- calls

  #definition(name, version) {
    return CALLED.find((each) => each.name === name && each.version === (version ?? 1));
  }

  #method(command) {
    if (command.session !== undefined) return this.#sessions.get(command.session)[command.method];
    const client = this.#clients.get(command.client);
    if (command.form === "typed") {
      return client.client(this.#definition(command.service, command.version))[command.method];
    }
    return client.proxy(command.service, command.version ?? null)[command.method];
  }

  #options(command, more = {}) {
    const options = { metadata: metadataIn(command.metadata), ...more };
    if (command.timeout_ms !== undefined) options.timeoutMs = command.timeout_ms;
    if (command.compress !== undefined) options.compress = command.compress;
    return options;
  }

  #request(command) {
    return this.neutral.read(command.type, command.request, command.form === "typed");
  }

  async call(command) {
    const controller = new AbortController();
    if (command.call !== undefined) this.#calls.set(command.call, controller);
    const info = { metadata: {}, trailingMetadata: {} };
    try {
      const options = this.#options(command, { signal: controller.signal, info });
      const response = await this.#method(command)(this.#request(command), options);
      return {
        response: this.neutral.write(command.gives_type, response),
        metadata: metadataOut(info.metadata),
        trailing: metadataOut(info.trailingMetadata),
      };
    } catch (error) {
      if (controller.signal.aborted) return { cancelled: true };
      throw error;
    }
  }

  async cancel({ call }) {
    this.#calls.get(call).abort();
  }

  /** Many calls at once: how many got the answer that is theirs. */
  async burst(command) {
    const add = this.#method({ ...command, method: "add" });
    const answers = await Promise.all(Array.from({ length: command.n }, (_, a) => add({ a, b: 1 })));
    return { right: answers.filter((answer, a) => answer === a + 1).length };
  }

  // ---------------------------------------------------------------- streams

  async open(command) {
    const method = this.#method(command);
    const stream = { takes: command.type, gives: command.gives_type, typed: command.form === "typed" };
    this.#streams.set(command.stream, stream);
    if (command.pattern === "client_stream") {
      stream.controller = new AbortController();
      stream.outgoing = new Outgoing();
      stream.info = { metadata: {}, trailingMetadata: {} };
      const options = this.#options(command, { signal: stream.controller.signal, info: stream.info });
      stream.answer = method(stream.outgoing, options);
      // It is awaited when the runner asks for it.
      stream.answer.catch(() => {});
      return;
    }
    const options = this.#options(command);
    if (command.pattern === "server_stream") stream.incoming = method.stream(this.#request(command), options);
    else stream.incoming = command.beforehand ? method.withOptions(options).bidi() : method.bidi(options);
    await stream.incoming.open();
  }

  async send({ stream: name, message }) {
    const stream = this.#streams.get(name);
    const value = this.neutral.read(stream.takes, message, stream.typed);
    if (stream.outgoing !== undefined) stream.outgoing.push({ message: value });
    else await stream.incoming.send(value);
  }

  async half_close({ stream: name }) {
    const stream = this.#streams.get(name);
    if (stream.outgoing !== undefined) stream.outgoing.push({ end: true });
    else await stream.incoming.halfClose();
  }

  /** At most `most` messages, or those until the end. */
  async next({ stream: name, most }) {
    const stream = this.#streams.get(name);
    const messages = [];
    while (messages.length < most) {
      let result;
      try {
        result = await stream.incoming.next();
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        return { messages, error: failure(error) };
      }
      if (result.done) {
        const { metadata, trailingMetadata } = stream.incoming;
        return { messages, end: true, metadata: metadataOut(metadata), trailing: metadataOut(trailingMetadata) };
      }
      messages.push(this.neutral.write(stream.gives, result.value));
    }
    return { messages, end: false };
  }

  async answer({ stream: name }) {
    const stream = this.#streams.get(name);
    try {
      const response = await stream.answer;
      return {
        response: this.neutral.write(stream.gives, response),
        metadata: metadataOut(stream.info.metadata),
        trailing: metadataOut(stream.info.trailingMetadata),
      };
    } catch (error) {
      if (stream.controller.signal.aborted) return { cancelled: true };
      throw error;
    }
  }

  async cancel_stream({ stream: name }) {
    const stream = this.#streams.get(name);
    if (stream.controller !== undefined) stream.controller.abort();
    else stream.incoming.cancel();
  }

  // ---------------------------------------------------------------- sessions

  async open_session({ session, client, service, form }) {
    const target = form === "typed" ? this.#definition(service) : service;
    this.#sessions.set(session, await this.#clients.get(client).session(target));
  }

  async close_session({ session }) {
    await this.#sessions.get(session).close();
  }
}

const side = process.argv[2] === "client" ? new Client() : new Server();

async function perform(command) {
  if (command.do === "exit") {
    // Ends without closing anything first: what is open is for the SDK to end.
    if (command.how === "kill") process.kill(process.pid, "SIGKILL");
    process.exit(0);
  }
  try {
    say({ id: command.id, ok: (await side[command.do](command)) ?? {} });
  } catch (error) {
    if (error instanceof AsterError) say({ id: command.id, error: failure(error) });
    else say({ id: command.id, fault: error?.stack ?? String(error) });
  }
}

const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY });
lines.on("line", (line) => void perform(JSON.parse(line)));
// The runner is gone, or done with this process.
lines.on("close", () => process.exit(0));
