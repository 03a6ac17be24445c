/**
 * Types that TypeScript has no name for: sized numbers, durations and UUIDs. They are ordinary numbers, bigints and
 * strings to the compiler, so plain literals fit; what reads the source (aster-gen, the register hook) sees the name.
 *
 * A `number` holds integers exactly up to 2^53 - 1. Beyond that a value is refused with its path, so a field that needs
 * all 64 bits is a `bigint`: `u64` always, `i64<bigint>` or plain `bigint` where the sign is needed.
 */

declare const flavor: unique symbol;

/** `T` under a name: values of `T` fit without a cast. */
export type Flavor<T, Name extends string> = T & { readonly [flavor]?: Name };

/** An integer from -128 to 127. */
export type i8 = Flavor<number, "i8">;
/** An integer from -32,768 to 32,767. */
export type i16 = Flavor<number, "i16">;
/** An integer of 32 bits with a sign. */
export type i32 = Flavor<number, "i32">;
/** An integer of 64 bits with a sign: a number up to 2^53 - 1, or `i64<bigint>` for all of it. */
export type i64<T extends number | bigint = number> = Flavor<T, "i64">;
/** An integer from 0 to 255. */
export type u8 = Flavor<number, "u8">;
/** An integer from 0 to 65,535. */
export type u16 = Flavor<number, "u16">;
/** An integer of 32 bits without a sign. */
export type u32 = Flavor<number, "u32">;
/** An integer of 64 bits without a sign, always a bigint. */
export type u64 = Flavor<bigint, "u64">;
/** A floating-point number that travels in 32 bits. */
export type f32 = Flavor<number, "f32">;
/** A floating-point number: what a plain `number` without an integer default is. */
export type f64 = Flavor<number, "f64">;
/** A length of time in milliseconds; fractions are kept to the nanosecond. */
export type duration = Flavor<number, "duration">;
/** A UUID as text, `f81d4fae-7dec-11d0-a765-00a0c91e6bf6`. */
export type uuid = Flavor<string, "uuid">;
