/** What the rest of the package uses: values of a shape to MessagePack and back. */

import { InvalidArgument } from "../errors.js";
import type { Shape } from "../shapes.js";
import { nodeOf, writeAny } from "./compile.js";
import { explainDecode, explainEncode } from "./explain.js";
import { DecodeFault, readAny, readArrayHeader, readWhole } from "./reader.js";
import { EncodeFault, written } from "./writer.js";

export interface Codec {
  readonly shape: Shape;
  /** The bytes of a value, valid until the next `encode`; throws `InvalidArgument` with the path. */
  encode(value: unknown): Uint8Array;
  /** The value of a payload; throws `InvalidArgument` with the path, and whatever a constructor throws. */
  decode(payload: Uint8Array): unknown;
  /** The values of an array of messages. */
  decodeBatch(payload: Uint8Array): unknown[];
}

const codecs = new WeakMap<Shape, Codec>();

/** The codec of a shape, made once. */
export function codecOf(shape: Shape): Codec {
  let codec = codecs.get(shape);
  if (codec === undefined) {
    codec = makeCodec(shape);
    codecs.set(shape, codec);
  }
  return codec;
}

function makeCodec(shape: Shape): Codec {
  const node = nodeOf(shape);
  const write = (value: unknown): void => node.write(value);
  const read = (): unknown => node.read();
  const readBatch = (): unknown[] => {
    const count = readArrayHeader("list");
    const values: unknown[] = [];
    for (let index = 0; index < count; index++) values.push(node.read());
    return values;
  };
  const list: Shape = { shape: "list", item: shape, unique: false, asSet: false };
  return {
    shape,
    encode(value) {
      try {
        return written(write, value);
      } catch (error) {
        throw encodeError(shape, value, error);
      }
    },
    decode(payload) {
      try {
        return readWhole(payload, read);
      } catch (error) {
        throw decodeError(shape, payload, error);
      }
    },
    decodeBatch(payload) {
      try {
        return readWhole(payload, readBatch);
      } catch (error) {
        throw decodeError(list, payload, error);
      }
    },
  };
}

function encodeError(shape: Shape, value: unknown, error: unknown): unknown {
  // Anything else was thrown by a getter of the value, and is the user's own.
  if (!(error instanceof EncodeFault) && !(error instanceof RangeError)) return error;
  return new InvalidArgument(explainEncode(shape, value, error), { cause: error });
}

function decodeError(shape: Shape, payload: Uint8Array, error: unknown): unknown {
  if (error instanceof DecodeFault) {
    return new InvalidArgument(explainDecode(shape, payload, error), { cause: error });
  }
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new InvalidArgument(`a class refused the value: ${text}`, { cause: error });
}

/** A value by its looks, copied out of the writer. */
export function encodeAny(value: unknown): Uint8Array {
  return new Uint8Array(written(writeAny, value));
}

/** A value by its looks. */
export function decodeAny(payload: Uint8Array): unknown {
  return readWhole(payload, readAny);
}
