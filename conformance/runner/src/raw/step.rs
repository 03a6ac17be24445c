//! What the raw peer does and expects, as scenarios write it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::scenario::{Fails, OneOrMore};

fn main_connection() -> String {
    "c".to_owned()
}

macro_rules! raw_steps {
    ($($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $field:ident : $ty:ty),* $(,)? })*) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $($(#[$of])* pub $field: $ty,)* }
        )*
        /// One step of the raw peer.
        #[derive(Debug, Clone)]
        #[allow(missing_docs)] // each is what its structure says
        pub enum RawStep { $($name($name),)* }
    };
}

raw_steps! {
    /// A connection to the server, on which nothing is said.
    Dial {
        /// Its name.
        dial: String,
    }
    /// The handshake on a connection that was dialled: a valid `Hello`, and `Welcome` is expected.
    Hello {
        /// The connection.
        hello: String,
        /// Fields of the `Hello`.
        #[serde(default)] bytes: Value,
    }
    /// The client begins to connect to the raw peer.
    Connecting {
        /// The name of its connection.
        connecting: String,
        /// Its options.
        #[serde(default)] options: Value,
    }
    /// What came of that.
    Connected {
        /// The name of its connection.
        connected: String,
        /// How it failed, if it was to.
        fails: Option<Fails>,
        /// The longest it may take.
        within_ms: Option<u64>,
    }
    /// A connection of the client to the raw peer, on which nothing is said.
    Accept {
        /// Its name.
        accept: String,
    }
    /// The handshake on it: `Hello` is expected, and answered with a `Welcome` that offers services.
    Greet {
        /// The connection.
        greet: String,
        /// Services of the table.
        #[serde(default)] offers: Vec<String>,
        /// Fields of the `Welcome`.
        #[serde(default)] bytes: Value,
        /// In place of the whole `Welcome` frame.
        instead: Option<Value>,
    }
    /// A stream.
    OpenStream {
        /// Its name.
        stream: String,
        /// The connection.
        #[serde(default = "main_connection")] on: String,
        /// Its kind byte, if it has one.
        kind: Option<u8>,
        /// Whether it goes one way only.
        #[serde(default)] uni: bool,
        /// What follows.
        #[serde(default)] bytes: Value,
    }
    /// A stream of the other side.
    Take {
        /// Its name.
        take: String,
        /// The connection.
        #[serde(default = "main_connection")] on: String,
        /// Its kind byte.
        kind: u8,
    }
    /// A call on a stream that was taken.
    Called {
        /// The stream.
        called: String,
        /// `Service.method`.
        method: String,
        /// The request as plain MessagePack; of a unary call.
        request: Option<Value>,
        /// Whether the header states a deadline.
        deadline: Option<bool>,
        /// The session that the header names.
        session: Option<u64>,
    }
    /// That the last call of the lane was given up.
    LaneCancelled {
        /// The lane.
        lane_cancelled: String,
    }
    /// Bytes.
    Write {
        /// The stream.
        write: String,
        /// The bytes.
        bytes: Value,
    }
    /// Bytes one at a time, until all are written or the connection ends.
    Dribble {
        /// The stream.
        dribble: String,
        /// The bytes.
        bytes: Value,
        /// Milliseconds between two.
        every_ms: u64,
    }
    /// The end of this side's direction.
    Fin {
        /// The stream.
        fin: String,
    }
    /// This side's direction is given up.
    Reset {
        /// The stream.
        reset: String,
        /// The code.
        #[serde(default)] code: u32,
    }
    /// The other direction is not wanted.
    Stop {
        /// The stream.
        stop: String,
        /// The code.
        #[serde(default)] code: u32,
    }
    /// The connection is closed by the raw peer.
    Shut {
        /// The connection.
        shut: String,
        /// The code.
        #[serde(default)] code: u32,
        /// The reason.
        #[serde(default)] reason: String,
    }
    /// A frame is expected.
    Frame {
        /// The stream.
        frame: String,
        /// Its byte.
        kind: u8,
        /// Its payload.
        bytes: Option<Value>,
    }
    /// A message is expected.
    Gets {
        /// The stream.
        gets: String,
        /// The value, as plain MessagePack.
        value: Value,
    }
    /// The end of an answer is expected; messages before it are passed over.
    Status {
        /// The stream.
        status: String,
        /// The code by its name.
        code: OneOrMore,
        /// Parts of the text.
        #[serde(default)] says: OneOrMore,
        /// Whether the handler may have run.
        may_have_run: Option<bool>,
    }
    /// An answer on the lane is expected; others are passed over.
    Reply {
        /// The lane.
        reply: String,
        /// The call.
        id: u64,
        /// The code by its name.
        code: OneOrMore,
        /// Parts of the text.
        #[serde(default)] says: OneOrMore,
        /// The message, as plain MessagePack.
        value: Option<Value>,
        /// Whether the handler may have run.
        may_have_run: Option<bool>,
    }
    /// The connection is closed by the other side.
    Closed {
        /// The connection.
        closed: String,
        /// The code by its name.
        code: OneOrMore,
        /// Parts of the reason.
        #[serde(default)] says: OneOrMore,
        /// The longest it may take.
        within_ms: Option<u64>,
        /// The shortest.
        after_ms: Option<u64>,
    }
    /// The stream is stopped by the other side.
    Stopped {
        /// The stream.
        stopped: String,
        /// The code by its name.
        code: OneOrMore,
    }
    /// The stream is reset by the other side.
    WasReset {
        /// The stream.
        was_reset: String,
        /// The code by its name.
        code: OneOrMore,
    }
    /// The other direction ends in an orderly way, without another frame.
    Ended {
        /// The stream.
        ended: String,
    }
    /// The connection is alive: a `Ping` is answered.
    Alive {
        /// The connection.
        alive: String,
    }
    /// The values of the table: to the server as bytes, or from the client to a raw peer that sends them back.
    Echo {
        /// `server` or `client`.
        echo: String,
        /// The method of `Values`, or all of them.
        values: Option<String>,
    }
}

fn parse<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|error| format!("{error} in step {value}"))
}

impl RawStep {
    /// A step, told by its first key.
    pub fn read(value: &Value) -> Result<Self, String> {
        macro_rules! kinds {
            ($($key:literal => $name:ident),* $(,)?) => {
                $(if value.get($key).is_some() { return parse(value).map(Self::$name); })*
            };
        }
        // `status`, `stream`, `frame` and the like also occur inside others, so the order matters.
        kinds! {
            "dial" => Dial, "hello" => Hello, "connecting" => Connecting, "connected" => Connected,
            "accept" => Accept, "greet" => Greet, "stream" => OpenStream, "take" => Take, "called" => Called,
            "lane_cancelled" => LaneCancelled, "write" => Write, "dribble" => Dribble, "fin" => Fin,
            "reset" => Reset, "stop" => Stop, "shut" => Shut, "frame" => Frame, "gets" => Gets,
            "status" => Status, "reply" => Reply, "closed" => Closed, "stopped" => Stopped,
            "was_reset" => WasReset, "ended" => Ended, "alive" => Alive, "echo" => Echo,
        }
        Err(format!("no such step: {value}"))
    }
}
