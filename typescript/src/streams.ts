/** The caller's side of streams: what `.stream()` and `.bidi()` return, and the pump of a client stream. */

import { type Binder, type Binding, explained } from "./call.js";
import { Internal, placed, RpcError, UsageError } from "./errors.js";
import { MessageIterator } from "./messages.js";
import type { ClientCall, Metadata, CallOptions as NativeCallOptions } from "./native/types.js";
import { MESSAGES_PER_TURN, nextTurn } from "./turns.js";

/** How long `BidiChannel.close` waits for the handler to end before it cancels the call. */
const CLOSE_MS = 5_000;

/** Begins the call; the signal is the caller's, if there is one. */
type Start = (binding: Binding) => [ClientCall, AbortSignal | undefined];

/** A streaming call that is opened at once, or when first used if the contract is not loaded yet. */
class Opening<T> {
  readonly #binder: Binder;
  readonly #start: Start;
  #opening: Promise<ClientCall> | null = null;
  #cancelled = false;
  #signal: AbortSignal | undefined;
  binding: Binding | null = null;
  call: ClientCall | null = null;
  readonly messages: MessageIterator<T>;

  constructor(binder: Binder, start: Start) {
    this.#binder = binder;
    this.#start = start;
    this.messages = new MessageIterator<T>({
      take: () => {
        if (this.call === null) return undefined;
        try {
          return this.#decoded(this.call.take());
        } catch (error) {
          throw this.#told(error);
        }
      },
      wait: async () => {
        const call = this.call ?? (await this.open());
        try {
          return this.#decoded(await call.wait()) ?? null;
        } catch (error) {
          throw this.#told(error);
        }
      },
      leave: () => this.cancel(),
    });
    const binding = binder.now();
    if (binding !== null) this.#started(binding);
  }

  #told(error: unknown): unknown {
    explained(error, this.#signal);
    return error;
  }

  #decoded(batch: Uint8Array | undefined): T[] | null | undefined {
    if (batch === undefined) return undefined;
    if (batch.length === 0) return null;
    try {
      return this.binding!.decodeBatch(batch) as T[];
    } catch (error) {
      this.call?.cancel();
      throw error;
    }
  }

  #started(binding: Binding): ClientCall {
    this.binding = binding;
    const [call, signal] = this.#start(binding);
    this.call = call;
    this.#signal = signal;
    return call;
  }

  open(): Promise<ClientCall> {
    if (this.call !== null) return Promise.resolve(this.call);
    if (this.#cancelled) {
      return Promise.reject(new UsageError("this stream was cancelled before it was opened; make a new one"));
    }
    this.#opening ??= this.#binder.later().then((binding) => {
      if (this.#cancelled) throw new UsageError("this stream was cancelled while it was being opened; make a new one");
      return this.call ?? this.#started(binding);
    });
    return this.#opening;
  }

  cancel(): void {
    this.#cancelled = true;
    this.call?.cancel();
  }

  require(): ClientCall {
    if (this.call === null) {
      throw new UsageError("this stream is not open yet: `await` its open(), or take its first message, before this");
    }
    return this.call;
  }
}

/**
 * The answers of a server stream. Iterate it; leaving the loop early cancels the call on the server. `await using` cancels
 * the call at the end of the block.
 */
export class ResponseStream<T> implements AsyncIterableIterator<T, undefined>, AsyncDisposable {
  readonly #opening: Opening<T>;

  /** @internal */
  constructor(binder: Binder, start: Start) {
    this.#opening = new Opening(binder, start);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return this.#opening.messages.next();
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    return this.#opening.messages.return();
  }

  throw(error: unknown): Promise<IteratorResult<T, undefined>> {
    return this.#opening.messages.throw(error);
  }

  /**
   * Makes sure that the call has been sent, without taking a message. It is sent at once when the service's contract is
   * known already, and by the first message taken otherwise.
   */
  async open(): Promise<this> {
    await this.#opening.open();
    return this;
  }

  /** What has arrived, at least one message; null at the end. For readers that would rather have many at a time. */
  nextBatch(): Promise<T[] | null> {
    return this.#opening.messages.nextBatch();
  }

  /** Cancels the call and ends the iteration. May be called twice. */
  cancel(): void {
    this.#opening.messages.stop();
  }

  /** Metadata of the response, there once the first message has come. */
  get metadata(): Metadata {
    return this.#opening.require().metadata;
  }

  /** Metadata sent with the end, there once the iteration has ended. */
  get trailingMetadata(): Metadata {
    return this.#opening.require().trailingMetadata;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.cancel();
    return Promise.resolve();
  }
}

/**
 * A bidirectional stream: `open()`, then `send()` and iteration in any order, then `close()`.
 *
 * ```ts
 * const channel = agent.runCommand.bidi();
 * await channel.open();
 * await channel.send({ command: "uptime" });
 * for await (const result of channel) console.log(result);
 * await channel.close();
 * ```
 *
 * Leaving a loop over the channel keeps it open, so that one may send again; `close()` and `cancel()` end it. `await using`
 * closes it at the end of the block.
 */
export class BidiChannel<In, Out> implements AsyncIterable<Out>, AsyncDisposable {
  readonly #opening: Opening<Out>;
  #halfClosed = false;

  /** @internal */
  constructor(binder: Binder, start: Start) {
    this.#opening = new Opening(binder, start);
  }

  /** Sends the call. The handler starts at once, before the first message. */
  async open(): Promise<this> {
    await this.#opening.open();
    return this;
  }

  /** Sends one message; waits while the other side is behind. Throws the call's failure if it has failed. */
  async send(message: In): Promise<void> {
    if (this.#halfClosed) {
      throw new UsageError("send() after halfClose() or close(): the other side was told that no more messages come");
    }
    const call = this.#opening.call ?? (await this.#opening.open());
    const pending = this.#opening.binding!.send(call, message);
    if (pending !== undefined) await pending;
  }

  /** Tells the handler that no more messages come; its iteration ends. Answers may still be read. */
  async halfClose(): Promise<void> {
    if (this.#halfClosed) return;
    this.#halfClosed = true;
    (await this.#opening.open()).halfClose();
  }

  /** The next answer. */
  next(): Promise<IteratorResult<Out, undefined>> {
    return this.#opening.messages.next();
  }

  [Symbol.asyncIterator](): AsyncIterator<Out, undefined> {
    return { next: () => this.next() };
  }

  /**
   * Ends the call in an orderly way: half-closes, waits until the handler has ended, and drops answers that come meanwhile.
   * After 5 s without an end the call is cancelled. Throws the failure if the handler failed. May be called twice, and does
   * nothing on a channel that was never opened.
   */
  async close(): Promise<void> {
    const { messages } = this.#opening;
    if (this.#opening.call === null) messages.stop();
    if (messages.ended) return;
    await this.halfClose();
    const timer = setTimeout(() => this.cancel(), CLOSE_MS);
    try {
      for (let next = await this.next(); next.done !== true; next = await this.next());
    } finally {
      clearTimeout(timer);
    }
  }

  /** Cancels the call on the server. May be called twice. */
  cancel(): void {
    this.#opening.messages.stop();
  }

  /** Metadata of the response, there once the first answer has come. */
  get metadata(): Metadata {
    return this.#opening.require().metadata;
  }

  /** Metadata sent with the end, there once the iteration has ended. */
  get trailingMetadata(): Metadata {
    return this.#opening.require().trailingMetadata;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Sends everything that `source` gives and returns the one answer. An answer or a failure that comes early ends the call
 * at once, even while the source is waiting.
 */
export async function callClientStream(
  binding: Binding,
  source: AsyncIterable<unknown> | Iterable<unknown>,
  options: NativeCallOptions | null,
): Promise<unknown> {
  const call = binding.client.stream(binding.native, options);
  const pump = new Pump(binding, call, source);
  try {
    return await Promise.race([singleAnswer(binding, call), pump.failure]);
  } catch (error) {
    call.cancel();
    throw error;
  } finally {
    pump.stop();
  }
}

class Pump {
  /** Rejects with what the source throws, and with refusals. That the call has ended is for the answer to say. */
  readonly failure: Promise<never>;
  readonly #binding: Binding;
  readonly #call: ClientCall;
  readonly #iterator: AsyncIterator<unknown> | Iterator<unknown>;
  #stopped = false;
  #exhausted = false;

  constructor(binding: Binding, call: ClientCall, source: AsyncIterable<unknown> | Iterable<unknown>) {
    this.#binding = binding;
    this.#call = call;
    this.#iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
    this.failure = new Promise((_, reject) => {
      this.#run().catch(reject);
    });
    // Nobody may be left to hear of it.
    this.failure.catch(() => undefined);
  }

  async #run(): Promise<void> {
    const call = this.#call;
    for (let sent = 1; !this.#stopped; sent++) {
      if (sent % MESSAGES_PER_TURN === 0) await nextTurn();
      const given = this.#iterator.next();
      const next = given instanceof Promise || "then" in given ? await given : given;
      if (this.#stopped) return;
      if (next.done === true) {
        this.#exhausted = true;
        call.halfClose();
        return;
      }
      const payload = this.#binding.payload(next.value);
      try {
        const pending = call.send(payload);
        if (pending !== undefined) await pending;
      } catch (error) {
        if (error instanceof RpcError) return; // the call has ended, and its answer says how
        throw this.#binding.refused(error);
      }
    }
  }

  /** Sends nothing more and lets the source clean up. What it still waits for is its own. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    if (this.#exhausted) return;
    try {
      const closing = this.#iterator.return?.();
      if (closing instanceof Promise) closing.catch(() => undefined);
    } catch {
      // The call is over; what the source does at its end is not its outcome.
    }
  }
}

async function singleAnswer(binding: Binding, call: ClientCall): Promise<unknown> {
  const answers: unknown[] = [];
  for (let batch = await call.wait(); batch.length > 0; batch = await call.wait()) {
    answers.push(...binding.decodeBatch(batch));
  }
  if (answers.length !== 1) {
    throw placed(new Internal(`the answer was ${answers.length} messages, expected 1`), binding.where);
  }
  return answers[0];
}
