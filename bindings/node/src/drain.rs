//! The drain of a port: what happened, as records.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aster_bridge::engine::{Answer, Contract, Metadata};
use aster_bridge::{Event, Failure, InboundCall};
use napi::bindgen_prelude::{Either3, Env};
use napi_derive::napi;

use crate::contract;
use crate::convert::{Info, Status, info_to_js, status_to_js};
use crate::fault::{Result, guard, misuse, panicked};
use crate::port::{Port, State};
use crate::records::{
    ANSWER_HEADER, CALL_HEADER, HAS_METADATA, HAS_REQUEST, HEADER, Kind, Room, Writer, padded,
};

/// What belongs to a record and is too rare to have a place in it.
pub(crate) enum Extra {
    Failure(Box<Failure>),
    Contract(Contract),
    Info(Metadata, Metadata),
}

#[napi]
impl Port {
    /// Fills `scratch` with records and returns the bytes written, plus 1 if there are more records; they are multiples of
    /// 8. If the next record has no place in an empty buffer of this size it returns the size that it needs, negative.
    /// What the records of one drain speak of is there until the next drain.
    #[napi]
    pub fn drain(&self, scratch: Room<'_>) -> Result<i32> {
        guard(|| Ok(self.state.drain(scratch)))
    }

    /// What the record with this extra left out; it can be asked for once.
    #[napi]
    pub fn extra<'env>(
        &self,
        env: &'env Env,
        index: u32,
    ) -> Result<Either3<Status<'env>, contract::Contract, Info<'env>>> {
        guard(|| {
            let extra = self
                .state
                .extras
                .borrow_mut()
                .get_mut(index as usize)
                .and_then(Option::take);
            match extra {
                Some(Extra::Failure(failure)) => Ok(Either3::A(status_to_js(env, &failure)?)),
                Some(Extra::Contract(contract)) => Ok(Either3::B(contract::Contract(contract))),
                Some(Extra::Info(metadata, trailing)) => {
                    Ok(Either3::C(info_to_js(env, &metadata, &trailing)?))
                }
                None => Err(misuse(format!("the last drain left no extra {index}"))),
            }
        })
    }

    /// The failure of which the last function spoke.
    #[napi]
    pub fn failure<'env>(&self, env: &'env Env) -> Result<Status<'env>> {
        guard(|| match self.state.failure.take() {
            Some(failure) => status_to_js(env, &failure),
            None => Err(misuse("nothing has failed")),
        })
    }
}

/// How the writing of one event went.
enum Written {
    Yes,
    /// There is no room for it, and so many bytes are needed.
    No(Event, usize),
}

impl State {
    fn drain(&self, scratch: &mut [u8]) -> i32 {
        self.extras.borrow_mut().clear();
        let mut writer = Writer::new(scratch);
        let mut left = self.left.take();
        while let Some(event) = left.pop_front() {
            if let Written::No(event, needed) = self.write_safely(&mut writer, event) {
                left.push_front(event);
                return self.keep(left, &writer, needed);
            }
        }
        let mut events = self.events.take();
        self.bridge.drain_into(&mut events);
        let mut needed = 0;
        for event in events.drain(..) {
            if needed > 0 {
                left.push_back(event);
            } else if let Written::No(event, bytes) = self.write_safely(&mut writer, event) {
                needed = bytes;
                left.push_back(event);
            }
        }
        self.events.replace(events);
        self.keep(left, &writer, needed)
    }

    fn keep(
        &self,
        left: std::collections::VecDeque<Event>,
        writer: &Writer<'_>,
        needed: usize,
    ) -> i32 {
        let more = i32::from(!left.is_empty());
        self.left.replace(left);
        match writer.written() {
            0 => -i32::try_from(needed).unwrap_or(i32::MAX),
            written => i32::try_from(written).unwrap_or(i32::MAX) | more,
        }
    }

    /// Like `write`. A panic ends the one event: its ticket, if it has one, fails.
    fn write_safely(&self, writer: &mut Writer<'_>, event: Event) -> Written {
        let ticket = match &event {
            Event::Completed { ticket, .. } | Event::Ready { ticket, .. } => Some(*ticket),
            _ => None,
        };
        let before = writer.written();
        catch_unwind(AssertUnwindSafe(|| self.write(writer, event))).unwrap_or_else(|panic| {
            writer.back_to(before);
            let text = panicked(&*panic);
            let (Some(ticket), true) = (ticket, writer.fits(HEADER)) else {
                return Written::Yes;
            };
            let failure = Failure::here(aster_bridge::engine::Code::INTERNAL, text, "");
            let extra = self.extra_of(Extra::Failure(Box::new(failure)));
            writer.record(HEADER, Kind::Failed, ticket as u32, extra);
            Written::Yes
        })
    }

    fn extra_of(&self, extra: Extra) -> u32 {
        let mut extras = self.extras.borrow_mut();
        extras.push(Some(extra));
        // There are as many as there are records in one buffer.
        (extras.len() - 1) as u32
    }

    fn write(&self, writer: &mut Writer<'_>, event: Event) -> Written {
        match event {
            Event::Completed { ticket, outcome } => self.completed(writer, ticket, outcome),
            Event::Call { server, call } => self.came(writer, server, call),
            Event::Ready { ticket, inbox } => {
                if !writer.fits(HEADER) {
                    return Written::No(Event::Ready { ticket, inbox }, HEADER);
                }
                writer.record(HEADER, Kind::Ready, ticket as u32, 0);
                Written::Yes
            }
            Event::Cancelled { call } => {
                if !writer.fits(HEADER) {
                    return Written::No(Event::Cancelled { call }, HEADER);
                }
                // Unknown: its handler has ended meanwhile.
                if let Some(place) = self.by_key.borrow().get(&call) {
                    writer.record(HEADER, Kind::Cancelled, *place, 0);
                }
                Written::Yes
            }
            Event::SessionClosed {
                server,
                service_index,
                session,
                reason,
            } => {
                if !writer.fits(HEADER + 16) {
                    let event = Event::SessionClosed {
                        server,
                        service_index,
                        session,
                        reason,
                    };
                    return Written::No(event, HEADER + 16);
                }
                let reason = match reason {
                    "closed" => 0,
                    "disconnected" => 1,
                    _ => 2,
                };
                let mut record = writer.record(
                    HEADER + 16,
                    Kind::SessionClosed,
                    service_index as u32,
                    reason,
                );
                record.number(16, server as f64);
                record.number(24, session as f64);
                Written::Yes
            }
            Event::Logs => {
                if !writer.fits(HEADER) {
                    return Written::No(Event::Logs, HEADER);
                }
                writer.record(HEADER, Kind::Logs, 0, 0);
                Written::Yes
            }
        }
    }

    fn completed(
        &self,
        writer: &mut Writer<'_>,
        ticket: aster_bridge::Ticket,
        outcome: aster_bridge::Outcome,
    ) -> Written {
        use aster_bridge::Outcome;
        let needed = match &outcome {
            Outcome::Answer(answer) => ANSWER_HEADER + answer.message.len(),
            _ => ANSWER_HEADER,
        };
        if !writer.fits(needed) {
            return Written::No(Event::Completed { ticket, outcome }, padded(needed));
        }
        // Tickets are made here, and have 32 bits.
        let number = ticket as u32;
        match outcome {
            Outcome::Answer(Answer {
                message,
                metadata,
                trailing,
                ..
            }) => {
                let extra = if metadata.is_empty() && trailing.is_empty() {
                    0
                } else {
                    self.extra_of(Extra::Info(metadata, trailing)) + 1
                };
                let mut record = writer.record(needed, Kind::Answer, number, message.len() as u32);
                record.word(4, extra);
                record.bytes(ANSWER_HEADER, &message);
            }
            Outcome::Done => {
                writer.record(HEADER, Kind::Done, number, 0);
            }
            Outcome::Failed(failure) => {
                let extra = self.extra_of(Extra::Failure(failure));
                writer.record(HEADER, Kind::Failed, number, extra);
            }
            Outcome::Contract(contract) => {
                let extra = self.extra_of(Extra::Contract(contract));
                writer.record(HEADER, Kind::Object, number, extra);
            }
            Outcome::Duration(duration) => {
                let mut record = writer.record(ANSWER_HEADER, Kind::Number, number, 0);
                record.number(16, duration.as_secs_f64() * 1000.0);
            }
            Outcome::Client(client) => {
                let client = self.clients.borrow_mut().insert(client);
                let mut record = writer.record(ANSWER_HEADER, Kind::Number, number, 0);
                record.number(16, client as f64);
            }
            Outcome::Server(server) => {
                let key = server.key();
                self.servers.borrow_mut().insert(key, server);
                let mut record = writer.record(ANSWER_HEADER, Kind::Number, number, 0);
                record.number(16, key as f64);
            }
        }
        Written::Yes
    }

    fn came(
        &self,
        writer: &mut Writer<'_>,
        server: u64,
        call: std::sync::Arc<InboundCall>,
    ) -> Written {
        let mut last_peer = self.last_peer.borrow_mut();
        let peer = if *last_peer == call.peer() {
            ""
        } else {
            call.peer()
        };
        let request = call.request().map_or(&[][..], |request| request);
        let needed = CALL_HEADER + padded(peer.len()) + request.len();
        if !writer.fits(needed) {
            return Written::No(Event::Call { server, call }, padded(needed));
        }
        let place = self.calls.borrow_mut().insert(call.clone()) as u32;
        self.by_key.borrow_mut().insert(call.key(), place);
        let (session_key, session_id) = call.session().unwrap_or_default();
        let mut flags = 0;
        if call.request().is_some() {
            flags |= HAS_REQUEST;
        }
        if !call.metadata().is_empty() {
            flags |= HAS_METADATA;
        }
        let mut record = writer.record(needed, Kind::Call, place, request.len() as u32);
        record.word(4, call.service_index() as u32);
        record.word(5, call.method_index() as u32);
        record.word(6, flags);
        record.word(7, peer.len() as u32);
        record.number(32, server as f64);
        record.number(40, call.id() as f64);
        record.number(48, session_key as f64);
        record.number(56, session_id as f64);
        record.number(64, call.time_left_ms().unwrap_or(f64::NAN));
        record.bytes(CALL_HEADER, peer.as_bytes());
        record.bytes(CALL_HEADER + padded(peer.len()), request);
        if !peer.is_empty() {
            let peer = peer.to_owned();
            let before = mem::replace(&mut *last_peer, peer);
            drop(before);
        }
        Written::Yes
    }
}
