/** Messages as they arrive, as an async iterator: one decode per batch, and nothing but a promise per message. */

/** Where batches come from. */
export interface BatchSource<T> {
  /** The next batch; null at the end; undefined when there is none yet. */
  take(): T[] | null | undefined;
  /** The next batch, or null at the end. */
  wait(): Promise<T[] | null>;
  /** The iteration was left before the end. */
  leave(): void;
}

const DONE: IteratorReturnResult<undefined> = Object.freeze({ value: undefined, done: true });

export class MessageIterator<T> implements AsyncIterableIterator<T> {
  readonly #source: BatchSource<T>;
  #batch: readonly T[] = [];
  #at = 0;
  #ended = false;
  /** Calls of `next` that have to wait do so one after another. */
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(source: BatchSource<T>) {
    this.#source = source;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#waiting === 0 && this.#at < this.#batch.length) {
      return Promise.resolve({ value: this.#batch[this.#at++]!, done: false });
    }
    const turn = this.#waiting++ === 0 ? this.#pull() : this.#last.then(() => this.#pull());
    this.#last = turn.then(ignore, ignore);
    return turn;
  }

  async #pull(): Promise<IteratorResult<T, undefined>> {
    try {
      return await this.#next();
    } finally {
      // Before the promise resolves, so that whoever waited for it finds the fast way open.
      this.#waiting--;
    }
  }

  async #next(): Promise<IteratorResult<T, undefined>> {
    while (this.#at >= this.#batch.length) {
      if (this.#ended) return DONE;
      let batch: readonly T[] | null;
      try {
        const ready = this.#source.take();
        batch = ready === undefined ? await this.#source.wait() : ready;
      } catch (error) {
        this.#ended = true;
        throw error;
      }
      if (this.#ended) return DONE; // left meanwhile
      if (batch === null) this.#ended = true;
      else {
        this.#batch = batch;
        this.#at = 0;
      }
    }
    return { value: this.#batch[this.#at++]!, done: false };
  }

  /** Everything that has arrived, at least one message; null at the end. Not to be mixed with waiting `next` calls. */
  async nextBatch(): Promise<T[] | null> {
    const first = await this.next();
    if (first.done === true) return null;
    const rest = this.#batch.slice(this.#at);
    this.#at = this.#batch.length;
    return [first.value, ...rest];
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    this.stop();
    return Promise.resolve(DONE);
  }

  throw(error: unknown): Promise<IteratorResult<T, undefined>> {
    this.stop();
    return Promise.reject(error);
  }

  /** Ends the iteration; the source hears of it unless it had ended by itself. */
  stop(): void {
    const early = !this.#ended;
    this.#ended = true;
    this.#batch = [];
    this.#at = 0;
    if (early) this.#source.leave();
  }

  get ended(): boolean {
    return this.#ended;
  }
}

function ignore(): void {}
