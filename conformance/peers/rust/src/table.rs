//! The services of the contract table that nothing calls: they are served, and clients are made of them.

use aster::{Code, Contract, Handlers, Pattern, Service, Status};
use serde_json::Value;

use crate::declare::{
    Declared, any, boolean, bytes, duration, f32_, f64_, field, i8_, i16_, i32_, i64_, list, map,
    null, nullable, of, optional, service, set, string, timestamp, tuple, u8_, u16_, u32_, u64_,
    uuid,
};

/// A method `get` with a parameter `value` and the like for an answer.
fn of_parameter(name: &str, ty: Value) -> Declared {
    service(name).parameters("get", vec![field("value", ty.clone())], ty)
}

/// A method `get` from one named type to another.
fn of_named(name: &str, request: &str, response: &str) -> Declared {
    service(name).unary("get", of(request), of(response))
}

fn declared() -> Vec<Declared> {
    let scalars = [
        boolean(),
        i8_(),
        i16_(),
        i32_(),
        i64_(),
        u8_(),
        u16_(),
        u32_(),
        u64_(),
        f32_(),
        f64_(),
        string(),
        bytes(),
        timestamp(),
        duration(),
        uuid(),
        any(),
    ];
    let mut all = vec![service("K01").parameters("ping", Vec::new(), null())];
    for (number, ty) in scalars.into_iter().enumerate() {
        all.push(of_parameter(&format!("K{:02}", number + 2), ty));
    }
    let (text, number, level) = ("conf/Text", "conf/Number", "conf/Level");
    all.extend([
        of_parameter("K19", list(string())),
        of_parameter("K20", set(string())),
        of_parameter("K21", tuple(&[i32_(), string()])),
        of_parameter("K22", map(string(), i32_())),
        of_parameter("K23", map(i32_(), string())),
        service("K24").parameters(
            "get",
            vec![optional("value", nullable(i32_()))],
            nullable(i32_()),
        ),
        of_parameter("K25", list(list(f64_()))),
        of_parameter("K26", map(uuid(), list(u8_()))),
        of_parameter("K27", of(level)),
        of_named("K28", "conf/Point", "conf/Point"),
        of_named("K29", "conf/Flags", "conf/Flags"),
        of_named("K30", "conf/Maybe", "conf/Maybe"),
        of_named("K31", "conf/Shape", "conf/Shape"),
        of_named("K32", "conf/Node", "conf/Node"),
        of_named("K33", "conf/Hen", "conf/Egg"),
        service("K34").server_stream("watch", of(number), of(text)),
        service("K35").client_stream("push", of(text), of(number)),
        service("K36").bidi_stream("chat", of(text), of(text)),
        of_named("K37", number, number).sessions(),
        of_named("K38", number, number).version(7),
        of_named("K39", number, number).idempotent(),
        service("K40")
            .unary("a", of(text), of(text))
            .idempotent()
            .server_stream("b", of(text), of(number))
            .client_stream("c", of(number), of(text))
            .bidi_stream("d", of(number), of(number)),
        service("K41").unary("place", of("conf/Order"), of("conf/Customer")),
        service("K42").unary("zähle", of("conf/Größe"), of("conf/Größe")),
        of_named("K43", "conf-test/v2.Item", "conf-test/v2.Item"),
        of_parameter("K44", map(boolean(), i32_())),
        of_parameter("K45", map(of(level), string())),
        of_parameter("K46", list(nullable(i32_()))),
        of_parameter("K47", tuple(&[tuple(&[i32_(), i32_()]), list(string())])),
        of_parameter("K48", set(i32_())),
        of_parameter("K49", list(of("conf/Shape"))),
        of_parameter("K50", map(string(), any())),
        of_parameter("K51", list(any())),
        service("K52").parameters(
            "mix",
            vec![
                field("a", i32_()),
                optional("b", string()),
                optional("c", nullable(of("conf/Point"))),
            ],
            of("conf/Point"),
        ),
        of_named("K53", "conf/Wide", "conf/Wide"),
        of_named(
            "K54",
            "conf/Circle.or.conf/Square",
            "conf/Circle.or.conf/Square",
        ),
    ]);
    all
}

pub(crate) fn contracts() -> Result<Vec<Contract>, String> {
    declared().into_iter().map(Declared::contract).collect()
}

/// A service of this contract, none of whose methods is there.
pub(crate) fn serve(contract: &Contract) -> Result<Service, String> {
    let mut handlers = Handlers::new(contract.clone());
    let never = || {
        Status::handler(
            Code::UNIMPLEMENTED,
            "services of the contract table are not called",
        )
    };
    for method in contract.compiled().contract().methods() {
        let name = &method.name;
        handlers = match method.pattern {
            Pattern::Unary => handlers.unary(name, move |_, _| async move { Err(never()) }),
            Pattern::ServerStream => {
                handlers.server_stream(name, move |_, _, _| async move { Err(never()) })
            }
            Pattern::ClientStream => {
                handlers.client_stream(name, move |_, _| async move { Err(never()) })
            }
            _ => handlers.bidi_stream(name, move |_, _, _| async move { Err(never()) }),
        };
    }
    handlers.build().map_err(|status| status.to_string())
}
