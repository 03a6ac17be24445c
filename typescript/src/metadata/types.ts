/**
 * What is read from TypeScript source, since nothing of it is left at run time: the types of fields, parameters and
 * results. Written by aster-gen and by the register hook, read when a service is described.
 */

/** The name of a named type: the path of its module, relative to the metadata's root, `#`, and its name there. */
export type TypeKey = string;

export type SourceType =
  | {
      readonly t:
        | "null"
        | "bool"
        | "string"
        | "bytes"
        | "timestamp"
        | "duration"
        | "uuid"
        | "any"
        | "i8"
        | "i16"
        | "i32"
        | "i64"
        | "u8"
        | "u16"
        | "u32"
        | "u64"
        | "f32"
        | "f64";
      /** For 64-bit integers: whether the source declares bigint. */
      readonly bigint?: boolean;
    }
  | { readonly t: "list"; readonly item: SourceType /** A Set in the source. */; readonly unique?: boolean }
  | { readonly t: "tuple"; readonly items: readonly SourceType[] }
  /** `object`: a Record or index signature in the source; otherwise a Map. */
  | { readonly t: "map"; readonly key: SourceType; readonly value: SourceType; readonly object?: boolean }
  | { readonly t: "nullable"; readonly item: SourceType }
  | { readonly t: "ref"; readonly key: TypeKey };

export interface SourceField {
  readonly name: string;
  readonly type: SourceType;
  /** `x?: T`, or an initialiser: a value without the field is accepted. */
  readonly optional: boolean;
  readonly nullable: boolean;
  readonly doc?: string;
}

export type SourceNamedType =
  | {
      readonly kind: "struct";
      readonly name: string;
      /** From @WireType, a `@wireType` tag of the comment or a `$type` property; otherwise the bare name is used. */
      readonly tag?: string;
      /** Declared by a class: values are its instances. Otherwise an interface or type: plain objects. */
      readonly class?: true;
      /** `@WireType` has the types of its fields, so they were not read. */
      readonly given?: true;
      /** Inherited fields first. */
      readonly fields: readonly SourceField[];
      readonly doc?: string;
    }
  /** An enum, or a union of string literals. `values`: the name on the wire, and the value in the source. */
  | {
      readonly kind: "enum";
      readonly name: string;
      readonly tag?: string;
      readonly values: readonly { readonly name: string; readonly value: string | number }[];
      readonly doc?: string;
    }
  /** A union of structs. Without a tag the members' tags name it, whatever its name in the source. */
  | { readonly kind: "union"; readonly name: string; readonly tag?: string; readonly members: readonly TypeKey[] };

export interface SourceMethod {
  /** The name in the class. */
  readonly name: string;
  readonly pattern: "unary" | "server_stream" | "client_stream" | "bidi_stream";
  /** The parameters before a CallContext, in order. For a client or bidi stream the first is the type of one message. */
  readonly parameters: readonly { readonly name: string; readonly type: SourceType; readonly optional: boolean }[];
  /** Whether the last parameter is a CallContext. */
  readonly context: boolean;
  /** Of one message, without Promise or AsyncGenerator; void is null. */
  readonly response: SourceType;
  /** Its decorator has the types, so they were not read. */
  readonly given?: true;
  readonly doc?: string;
}

export interface SourceService {
  readonly name: string;
  readonly methods: readonly SourceMethod[];
  readonly doc?: string;
}

/** All that one run of aster-gen found. */
export interface SourceMetadata {
  readonly format: 1;
  readonly types: Readonly<Record<TypeKey, SourceNamedType>>;
  readonly services: Readonly<Record<TypeKey, SourceService>>;
}
