/** The wire tags that classes were decorated with, for whoever meets an instance without knowing its class. */

const tags = new WeakMap<object, string>();

export function recordTag(cls: object, tag: string): void {
  tags.set(cls, tag);
}

/** The tag of the class that a value is an instance of, or of the nearest one that it extends. */
export function tagOfInstance(value: object): string | undefined {
  for (let at: object | null = Object.getPrototypeOf(value); at !== null; at = Object.getPrototypeOf(at)) {
    const tag = tags.get(at.constructor);
    if (tag !== undefined) return tag;
  }
  return undefined;
}
