/**
 * Lets the event loop turn. A source that never really waits would otherwise keep cancellations, early answers and
 * everybody else waiting until the connection's buffer is full.
 */

/** How many messages are sent before others have their turn. */
export const MESSAGES_PER_TURN = 512;

/** Resolves in the next turn of the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
