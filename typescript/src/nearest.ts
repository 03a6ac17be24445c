/** Names that may have been meant. */

/** At most three of `known` that `given` is a few letters away from, nearest first. */
export function nearest(given: string, known: readonly string[]): string[] {
  const limit = Math.max(1, Math.floor(given.length / 3));
  return known
    .map((name) => ({ name, distance: distance(given.toLowerCase(), name.toLowerCase()) }))
    .filter((each) => each.distance <= limit)
    .sort((one, two) => one.distance - two.distance)
    .slice(0, 3)
    .map((each) => each.name);
}

/** How many letters have to be changed, added or left out (Levenshtein). */
function distance(one: string, two: string): number {
  let row = Array.from({ length: two.length + 1 }, (_, index) => index);
  for (let at = 1; at <= one.length; at++) {
    const next = [at];
    for (let to = 1; to <= two.length; to++) {
      const change = row[to - 1]! + (one[at - 1] === two[to - 1] ? 0 : 1);
      next.push(Math.min(change, row[to]! + 1, next[to - 1]! + 1));
    }
    row = next;
  }
  return row[two.length]!;
}
