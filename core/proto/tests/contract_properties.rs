//! Properties of contracts and values, over random contracts and random values of their types.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

use aster_proto::contract::{
    Compiled, Contract, Field, Manifest, Method, Pattern, Scalar, Scope, ServiceDescription, Type,
    TypeDef, TypeId, compat,
};
use aster_proto::value::{self, Mode, json};
use proptest::prelude::*;

const STRUCTS: usize = 4;

/// Types that may refer to any struct (`cyclic`), or to none.
fn ty(cyclic: bool) -> BoxedStrategy<Type> {
    let scalar = proptest::sample::select(Scalar::ALL.to_vec()).prop_map(Type::Scalar);
    let named = proptest::sample::select(vec!["E", "U"]).prop_map(|tag| Type::Ref(tag.into()));
    let leaf = if cyclic {
        let structs = (0..STRUCTS).prop_map(|index| Type::Ref(format!("S{index}")));
        prop_oneof![4 => scalar, 1 => named, 2 => structs].boxed()
    } else {
        prop_oneof![4 => scalar, 1 => Just(Type::Ref("E".into()))].boxed()
    };
    let key = prop_oneof![
        proptest::sample::select(vec![
            Scalar::String,
            Scalar::I8,
            Scalar::U64,
            Scalar::Bool,
            Scalar::Uuid
        ])
        .prop_map(Type::Scalar),
        Just(Type::Ref("E".into())),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|(item, unique)| Type::List {
                item: item.into(),
                unique
            }),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Type::Tuple),
            (key.clone(), inner.clone()).prop_map(|(key, value)| Type::Map {
                key: key.into(),
                value: value.into()
            }),
            inner.prop_map(|item| Type::Nullable(item.into())),
        ]
    })
    .boxed()
}

/// A field. Only those that may be left out or null may lead round a cycle: others would have no finite value.
fn field(index: usize) -> impl Strategy<Value = Field> {
    let name = format!("f{index}");
    prop_oneof![
        (ty(false), any::<bool>(), any::<bool>())
            .prop_map(|(ty, required, nullable)| (ty, required, nullable)),
        (ty(true), any::<bool>()).prop_map(|(ty, required)| (
            Type::Nullable(ty.into()),
            required,
            false
        )),
        (ty(true), any::<bool>()).prop_map(|(ty, nullable)| (ty, false, nullable)),
    ]
    .prop_map(move |(ty, required, nullable)| Field {
        name: name.clone(),
        ty,
        required,
        nullable,
    })
}

fn description() -> impl Strategy<Value = ServiceDescription> {
    let fields = || (0..6_usize).prop_flat_map(|count| (0..count).map(field).collect::<Vec<_>>());
    let structs = proptest::collection::vec(fields(), STRUCTS);
    let patterns = vec![
        Pattern::Unary,
        Pattern::ServerStream,
        Pattern::ClientStream,
        Pattern::BidiStream,
    ];
    let method = (
        proptest::sample::select(patterns),
        ty(true),
        ty(true),
        any::<bool>(),
    );
    let methods = proptest::collection::vec(method, 1..4);
    let scope = prop_oneof![Just(Scope::Shared), Just(Scope::Session)];
    (structs, methods, 1..5_u32, scope).prop_map(|(structs, methods, version, scope)| {
        let mut types: Vec<TypeDef> = structs
            .into_iter()
            .enumerate()
            .map(|(index, fields)| TypeDef::Struct {
                tag: format!("S{index}"),
                fields,
            })
            .collect();
        types.push(TypeDef::Enum {
            tag: "E".into(),
            values: vec!["b".into(), "a".into(), "c".into()],
        });
        types.push(TypeDef::Union {
            tag: "U".into(),
            members: vec!["S1".into(), "S0".into()],
        });
        let methods = methods.into_iter().enumerate().map(
            |(index, (pattern, request, response, idempotent))| Method {
                name: format!("m{index}"),
                pattern,
                request,
                response,
                idempotent,
            },
        );
        ServiceDescription {
            name: "Random".into(),
            version,
            scope,
            methods: methods.collect(),
            types,
            manifest: Manifest::default(),
        }
    })
}

/// Random choices from a finite tape: at its end every choice is the smallest, so that values end too.
struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn u64(&mut self) -> u64 {
        // Mostly near the ends of some integer type.
        let near = (self.byte() % 5) as u64;
        let base = [
            0,
            1 << 7,
            1 << 8,
            1 << 15,
            1 << 16,
            1 << 31,
            1 << 32,
            1 << 53,
            1 << 63,
            u64::MAX - 2,
        ][self.below(10)];
        base.wrapping_add(near).wrapping_sub(2)
    }
}

/// Writes a random value of a type, as an encoder that follows the specification would.
fn write(contract: &Contract, ty: &Type, tape: &mut Tape<'_>, depth: usize, out: &mut Vec<u8>) {
    // Far below the limit of 64, whatever the types: at the end of the tape nothing nests further by choice.
    let more = |tape: &mut Tape<'_>| if depth > 12 { 0 } else { tape.below(4) };
    match ty {
        Type::Nullable(_) if depth > 12 || tape.below(2) == 0 => {
            rmp::encode::write_nil(out).unwrap()
        }
        Type::Nullable(item) => write(contract, item, tape, depth, out),
        Type::Scalar(Scalar::Any) => match tape.below(5) {
            0 => rmp::encode::write_nil(out).unwrap(),
            1 => drop(rmp::encode::write_uint(out, tape.u64()).unwrap()),
            2 => rmp::encode::write_f64(out, 0.5).unwrap(),
            3 => rmp::encode::write_str(out, "any").unwrap(),
            _ => {
                rmp::encode::write_map_len(out, 1).unwrap();
                rmp::encode::write_str(out, "k").unwrap();
                rmp::encode::write_bin(out, b"v").unwrap();
            }
        },
        Type::Scalar(scalar) => write_scalar(*scalar, tape, out),
        Type::List { item, unique } => {
            let count = more(tape);
            let mut items: Vec<Vec<u8>> = Vec::new();
            for _ in 0..count {
                let mut one = Vec::new();
                write(contract, item, tape, depth + 1, &mut one);
                if !(*unique && items.contains(&one)) {
                    items.push(one);
                }
            }
            rmp::encode::write_array_len(out, items.len() as u32).unwrap();
            out.extend(items.concat());
        }
        Type::Tuple(items) => {
            rmp::encode::write_array_len(out, items.len() as u32).unwrap();
            items
                .iter()
                .for_each(|item| write(contract, item, tape, depth + 1, out));
        }
        Type::Map { key, value } => {
            let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            for _ in 0..more(tape) {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                write(contract, key, tape, depth + 1, &mut one);
                write(contract, value, tape, depth + 1, &mut other);
                if entries.iter().all(|(known, _)| *known != one) {
                    entries.push((one, other));
                }
            }
            rmp::encode::write_map_len(out, entries.len() as u32).unwrap();
            entries
                .into_iter()
                .for_each(|(key, value)| out.extend([key, value].concat()));
        }
        Type::Ref(tag) => match contract.type_def(tag).unwrap() {
            TypeDef::Enum { values, .. } => {
                rmp::encode::write_str(out, &values[tape.below(values.len())]).unwrap()
            }
            TypeDef::Struct { fields, .. } => {
                write_struct(contract, None, fields, tape, depth, out)
            }
            TypeDef::Union { members, .. } => {
                let member = &members[tape.below(members.len())];
                let Some(TypeDef::Struct { fields, .. }) = contract.type_def(member) else {
                    panic!("{member}")
                };
                write_struct(contract, Some(member), fields, tape, depth, out);
            }
        },
    }
}

fn write_struct(
    contract: &Contract,
    tag: Option<&str>,
    fields: &[Field],
    tape: &mut Tape<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) {
    let mut written = Vec::new();
    let mut count = 0;
    if let Some(tag) = tag {
        rmp::encode::write_str(&mut written, "$type").unwrap();
        rmp::encode::write_str(&mut written, tag).unwrap();
        count += 1;
    }
    for field in fields {
        if !field.required && (depth > 12 || tape.below(2) == 0) {
            continue;
        }
        rmp::encode::write_str(&mut written, &field.name).unwrap();
        if field.nullable && (depth > 12 || tape.below(2) == 0) {
            rmp::encode::write_nil(&mut written).unwrap();
        } else {
            write(contract, &field.ty, tape, depth + 1, &mut written);
        }
        count += 1;
    }
    rmp::encode::write_map_len(out, count).unwrap();
    out.extend(written);
}

fn write_scalar(scalar: Scalar, tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    match (scalar, scalar.int_range()) {
        (_, Some((min, max))) => {
            let value = i128::from(tape.u64()) - if tape.below(2) == 0 { 0 } else { 1 << 63 };
            let value = value.clamp(min.into(), max.into());
            match u64::try_from(value) {
                Ok(value) => drop(rmp::encode::write_uint(out, value).unwrap()),
                Err(_) => drop(rmp::encode::write_sint(out, value as i64).unwrap()),
            }
        }
        (Scalar::Bool, _) => rmp::encode::write_bool(out, tape.below(2) == 1).unwrap(),
        (Scalar::F32, _) => rmp::encode::write_f32(out, f32::from_bits(tape.u64() as u32)).unwrap(),
        (Scalar::F64, _) => {
            rmp::encode::write_f64(out, f64::from_bits(tape.u64().rotate_left(50))).unwrap()
        }
        (Scalar::String, _) => rmp::encode::write_str(
            out,
            &"aé\"\\字\n😀"[..[0, 1, 3, 4, 5, 8, 9, 13][tape.below(8)]],
        )
        .unwrap(),
        (Scalar::Bytes, _) => rmp::encode::write_bin(out, &[0xfb; 5][..tape.below(6)]).unwrap(),
        (Scalar::Uuid, _) => rmp::encode::write_bin(out, &[tape.byte(); 16]).unwrap(),
        _ => rmp::encode::write_nil(out).unwrap(),
    }
}

fn holds_any(contract: &Contract) -> bool {
    format!("{contract:?}").contains("Scalar(Any)")
}

/// A NaN has many encodings, and JSON keeps only that it is one.
fn holds_odd_nan(payload: &[u8]) -> bool {
    payload.windows(5).any(|bytes| {
        bytes[0] == 0xca && f32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]).is_nan()
    }) || payload.windows(9).any(|bytes| {
        bytes[0] == 0xcb && f64::from_be_bytes(bytes[1..].try_into().unwrap()).is_nan()
    })
}

fn types_of(compiled: &Compiled) -> Vec<(TypeId, Type)> {
    let methods = compiled.contract().methods().iter();
    methods
        .flat_map(|method| {
            let resolved = compiled.method(&method.name).unwrap();
            [
                (resolved.request, method.request.clone()),
                (resolved.response, method.response.clone()),
            ]
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn k1_the_order_of_a_description_does_not_count(description in description(), seed in any::<u64>()) {
        let (contract, _) = description.normalise().unwrap();
        let mut shuffled = description.clone();
        let mut state = seed;
        let mut shuffle = |len: usize| -> Vec<usize> {
            let mut order: Vec<usize> = (0..len).collect();
            for at in (1..len).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                order.swap(at, (state >> 33) as usize % (at + 1));
            }
            order
        };
        shuffled.methods = shuffle(description.methods.len()).into_iter().map(|at| description.methods[at].clone()).collect();
        shuffled.types = shuffle(description.types.len()).into_iter().map(|at| description.types[at].clone()).collect();
        for def in &mut shuffled.types {
            match def {
                TypeDef::Struct { fields, .. } => {
                    *fields = shuffle(fields.len()).into_iter().map(|at| fields[at].clone()).collect();
                }
                TypeDef::Enum { values: names, .. } | TypeDef::Union { members: names, .. } => {
                    *names = shuffle(names.len()).into_iter().map(|at| names[at].clone()).collect();
                }
            }
        }
        let (other, _) = shuffled.normalise().unwrap();
        prop_assert_eq!(other.id(), contract.id());
        prop_assert_eq!(other, contract);
    }

    #[test]
    fn k2_canonical_bytes_and_descriptions_read_back(description in description()) {
        let (contract, manifest) = description.normalise().unwrap();
        prop_assert_eq!(&Contract::from_canonical(&contract.canonical()).unwrap(), &contract);
        let packed = ServiceDescription::of(&contract, &manifest).to_msgpack().unwrap();
        let (again, _) = ServiceDescription::from_msgpack(&packed).unwrap().normalise().unwrap();
        prop_assert_eq!(again, contract);
    }

    #[test]
    fn c9_perturbed_canonical_bytes_never_panic_and_never_pass_as_another_form(
        description in description(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let (contract, _) = description.normalise().unwrap();
        let mut bytes = contract.canonical();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(read) = Contract::from_canonical(&bytes) {
            prop_assert_eq!(read.canonical(), bytes);
        }
    }

    #[test]
    fn k3_a_contract_is_compatible_with_itself_and_comparing_ends(one in description(), other in description()) {
        let (one, _) = one.normalise().unwrap();
        let (other, _) = other.normalise().unwrap();
        let same = compat(&one, &one);
        prop_assert!(same.breaking.is_empty() && same.notes.is_empty());
        let forth = compat(&one, &other);
        prop_assert_eq!(one == other, forth.breaking.is_empty() && forth.notes.is_empty());
    }

    #[test]
    fn values_that_follow_the_specification_pass(description in description(), tape in proptest::collection::vec(any::<u8>(), 0..200)) {
        let compiled = Compiled::new(description.normalise().unwrap().0);
        for (id, ty) in types_of(&compiled) {
            let mut payload = Vec::new();
            write(compiled.contract(), &ty, &mut Tape(&tape), 0, &mut payload);
            for mode in [Mode::Receive, Mode::Send] {
                prop_assert_eq!(compiled.check(id, &payload, mode), Ok(()));
                prop_assert_eq!(value::normalise(&compiled, id, &payload, mode), Ok(None));
            }
            let text = json::from_msgpack(&compiled, id, &payload, Mode::Send).unwrap();
            let exact = !holds_any(compiled.contract()) && !holds_odd_nan(&payload);
            match json::to_msgpack(&compiled, id, &text, Mode::Send) {
                Ok(back) => {
                    prop_assert_eq!(compiled.check(id, &back, Mode::Send), Ok(()));
                    if exact {
                        prop_assert_eq!(back, payload);
                    }
                }
                // Different items of a set may have one JSON form, but only where JSON does not keep all of a value.
                Err(error) => prop_assert!(!exact && error.message() == "duplicate item in a set", "{}", error),
            }
        }
    }

    #[test]
    fn c9_perturbed_values_never_panic(
        description in description(),
        tape in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let compiled = Compiled::new(description.normalise().unwrap().0);
        for (id, ty) in types_of(&compiled) {
            let mut payload = Vec::new();
            write(compiled.contract(), &ty, &mut Tape(&tape), 0, &mut payload);
            let mut text = json::from_msgpack(&compiled, id, &payload, Mode::Send).unwrap();
            for bytes in [&mut payload, &mut text] {
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                if let Some(cut) = &cut {
                    bytes.truncate(cut.index(bytes.len()));
                }
            }
            let checked = compiled.check(id, &payload, Mode::Receive);
            // What passes can be read as JSON, or its keys have one text; what does not pass cannot.
            match json::from_msgpack(&compiled, id, &payload, Mode::Receive) {
                Ok(_) => prop_assert_eq!(checked.clone(), Ok(())),
                Err(error) => prop_assert!(
                    checked == Err(error.clone())
                        || error.message().starts_with("duplicate map key")
                        || error.message().starts_with("this timestamp has no JSON form"),
                    "{:?} but {}", checked, error
                ),
            }
            // Native forms only add to what passes, and what they are rewritten to passes.
            match value::normalise(&compiled, id, &payload, Mode::Receive) {
                Ok(None) => prop_assert_eq!(checked, Ok(())),
                Ok(Some(rewritten)) => prop_assert_eq!(compiled.check(id, &rewritten, Mode::Receive), Ok(())),
                Err(_) => prop_assert!(checked.is_err()),
            }
            if let Ok(read) = json::to_msgpack(&compiled, id, &text, Mode::Receive) {
                prop_assert_eq!(compiled.check(id, &read, Mode::Receive), Ok(()));
            }
        }
    }

    #[test]
    fn c9_any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (contract, _) = ServiceDescription::from_json(
            r#"{"name": "S", "version": 1, "methods": [{"name": "m", "pattern": "unary", "request": {"t": "any"}, "response": {"t": "null"}}]}"#,
        ).unwrap().normalise().unwrap();
        let compiled = Compiled::new(contract);
        let ty = compiled.method("m").unwrap().request;
        if compiled.check(ty, &bytes, Mode::Receive).is_ok() {
            // Another reader agrees that it is one value.
            let mut rest = bytes.as_slice();
            prop_assert!(rmpv::decode::read_value(&mut rest).is_ok());
            prop_assert!(rest.is_empty());
        }
        prop_assert!(Contract::from_canonical(&bytes).is_err());
        prop_assert!(ServiceDescription::from_msgpack(&bytes).is_err());
        let _ = json::to_msgpack(&compiled, ty, &bytes, Mode::Receive);
    }
}
