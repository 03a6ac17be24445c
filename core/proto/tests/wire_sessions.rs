//! The session machine against a model that is too simple to be wrong, under random sequences of events.

use std::collections::{BTreeMap, VecDeque};

use aster_proto::session::{Admit, Sessions, Step};
use aster_proto::status::Code;
use proptest::collection::vec;
use proptest::prelude::*;

/// Sessions that may be open at once; ids go a little further, so that the cap is met.
const MAX_OPEN: usize = 3;
const IDS: u64 = 5;

#[derive(Debug, Clone)]
enum Op {
    Unary(u64),
    UnaryDone(u64),
    Stream(u64),
    StreamDone(u64),
    RefusedElsewhere(u64),
    /// Cancels the waiting call at this place of the queue, or one that does not wait.
    Cancel(u64, usize),
    /// Closes with this many calls more or fewer than have arrived.
    Close(u64, i64),
    Timeout(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let id = 1..=IDS;
    prop_oneof![
        6 => id.clone().prop_map(Op::Unary),
        4 => id.clone().prop_map(Op::UnaryDone),
        2 => id.clone().prop_map(Op::Stream),
        2 => id.clone().prop_map(Op::StreamDone),
        1 => id.clone().prop_map(Op::RefusedElsewhere),
        2 => (id.clone(), 0..4usize).prop_map(|(id, at)| Op::Cancel(id, at)),
        2 => (id.clone(), -1..=2i64).prop_map(|(id, more)| Op::Close(id, more)),
        1 => id.prop_map(Op::Timeout),
    ]
}

/// One session as a reader of the specification would keep it.
#[derive(Debug, Default, Clone)]
struct Model {
    open: bool,
    closed: bool,
    arrived: u64,
    running: Option<u32>,
    queue: VecDeque<u32>,
    streams: u64,
    closing: Option<u64>,
    told_streams: bool,
    /// What the machine said: how often its streams were cancelled and how often it ended.
    cancelled: u32,
    ended: u32,
    /// Whether any call has reached it.
    used: bool,
}

impl Model {
    /// Whether the session is over, now that something happened: all calls are in and nothing of it runs.
    fn settle(&mut self) {
        let all_in = self.closing.is_some_and(|calls| self.arrived >= calls);
        if !self.open || !all_in {
            return;
        }
        if self.running.is_none() && self.streams == 0 {
            assert!(self.queue.is_empty(), "a call waits although none runs");
            self.open = false;
            self.closed = true;
        } else if !self.told_streams {
            self.told_streams = self.streams > 0;
        }
    }
}

struct Pair {
    machine: Sessions<u32>,
    models: BTreeMap<u64, Model>,
    next_call: u32,
}

impl Pair {
    fn new() -> Self {
        Self {
            machine: Sessions::new(MAX_OPEN as u32),
            models: BTreeMap::new(),
            next_call: 0,
        }
    }

    fn model(&mut self, id: u64) -> &mut Model {
        self.models.entry(id).or_default()
    }

    /// What an arriving call must be answered.
    fn refusal(&mut self, id: u64) -> Option<Code> {
        let open = self.models.values().filter(|model| model.open).count();
        let model = self.model(id);
        if model.closed || model.closing.is_some_and(|calls| model.arrived >= calls) {
            return Some(Code::FAILED_PRECONDITION);
        }
        (!model.open && open >= MAX_OPEN).then_some(Code::RESOURCE_EXHAUSTED)
    }

    /// Follows the machine until it has nothing more to say, as the engine does.
    fn follow(&mut self, id: u64, mut step: Step) {
        loop {
            let model = self.models.entry(id).or_default();
            match step {
                Step::Stay => break,
                Step::AwaitCalls => {
                    assert!(
                        model.closing.is_some_and(|calls| model.arrived < calls),
                        "nothing is to be waited for"
                    );
                    break;
                }
                Step::CancelStreams => {
                    assert!(model.streams > 0);
                    model.cancelled += 1;
                }
                Step::End => model.ended += 1,
            }
            step = self.machine.step(id);
        }
        let model = self.model(id);
        model.settle();
        let (open, used, closed, told) = (model.open, model.used, model.closed, model.told_streams);
        assert_eq!(
            model.ended,
            u32::from(closed && used),
            "a used session ends once, when it is over"
        );
        assert_eq!(
            model.cancelled,
            u32::from(told),
            "streams are told once, when all calls are in"
        );
        assert_eq!(self.machine.is_open(id), open);
        assert_eq!(
            self.machine.len(),
            self.models.values().filter(|model| model.open).count()
        );
        assert!(self.machine.len() <= MAX_OPEN);
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Unary(id) => {
                let call = self.next_call;
                self.next_call += 1;
                let refusal = self.refusal(id);
                let admit = self.machine.unary(id, call);
                let model = self.model(id);
                match refusal {
                    Some(code) => {
                        let Admit::Refused(back, status) = admit else {
                            panic!("{admit:?}, not {code}")
                        };
                        assert_eq!(
                            (back, status.code, status.may_have_run),
                            (call, code, false)
                        );
                    }
                    None => {
                        (model.open, model.used) = (true, true);
                        model.arrived += 1;
                        if model.running.is_none() {
                            assert_eq!(admit, Admit::Run(call));
                            model.running = Some(call);
                        } else {
                            assert_eq!(admit, Admit::Queued);
                            model.queue.push_back(call);
                        }
                    }
                }
                self.step(id);
            }
            Op::UnaryDone(id) => {
                let model = self.model(id);
                if model.running.is_none() {
                    return;
                }
                model.running = model.queue.pop_front();
                let expected = model.running;
                assert_eq!(
                    self.machine.unary_done(id),
                    expected,
                    "calls run in the order of their arrival"
                );
                self.step(id);
            }
            Op::Stream(id) => {
                let refusal = self.refusal(id);
                let taken = self.machine.stream(id);
                assert_eq!(taken.as_ref().err().map(|status| status.code), refusal);
                if taken.is_ok() {
                    let model = self.model(id);
                    (model.open, model.used) = (true, true);
                    model.arrived += 1;
                    model.streams += 1;
                }
                self.step(id);
            }
            Op::StreamDone(id) => {
                let model = self.model(id);
                if model.streams == 0 {
                    return;
                }
                model.streams -= 1;
                self.machine.stream_done(id);
                self.step(id);
            }
            Op::RefusedElsewhere(id) => {
                let model = self.model(id);
                if model.open {
                    model.arrived += 1;
                    model.used = true;
                }
                self.machine.refused(id);
                self.step(id);
            }
            Op::Cancel(id, at) => {
                let model = self.model(id);
                let waiting = model.queue.remove(at);
                let running = model.running;
                let target = waiting.or(running);
                let Some(target) = target else { return };
                let taken = self.machine.cancel_queued(id, |call| *call == target);
                assert_eq!(taken, waiting, "only a waiting call can be taken out");
                self.step(id);
            }
            Op::Close(id, more) => {
                let open = self.models.values().filter(|model| model.open).count();
                let model = self.model(id);
                let calls = model.arrived.saturating_add_signed(more);
                if !model.closed && model.closing.is_none() {
                    if !model.open && (calls == 0 || open >= MAX_OPEN) {
                        model.closed = true;
                    } else {
                        model.open = true;
                        model.closing = Some(calls);
                    }
                }
                let step = self.machine.close(id, calls);
                self.follow(id, step);
            }
            Op::Timeout(id) => {
                let model = self.model(id);
                if model.closing.is_some_and(|calls| model.arrived < calls) {
                    model.closing = Some(0);
                }
                let step = self.machine.close_timeout(id);
                self.follow(id, step);
            }
        }
    }

    fn step(&mut self, id: u64) {
        let step = self.machine.step(id);
        self.follow(id, step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn x3_the_machine_does_what_the_model_does(ops in vec(op(), 0..120)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
        }
        // Then everybody leaves: every session that was used has ended once, and none comes back.
        for id in 1..=IDS {
            pair.apply(&Op::Close(id, 0));
            pair.apply(&Op::Timeout(id));
            while pair.model(id).running.is_some() {
                pair.apply(&Op::UnaryDone(id));
            }
            while pair.model(id).streams > 0 {
                pair.apply(&Op::StreamDone(id));
            }
            prop_assert!(pair.model(id).closed);
            pair.apply(&Op::Unary(id));
            pair.apply(&Op::Stream(id));
        }
        prop_assert!(pair.machine.is_empty());
        prop_assert!(!pair.machine.is_abused());
    }

    /// Closed ids are remembered exactly, in whatever order they were closed.
    #[test]
    fn x3_closed_ids_are_remembered_in_any_order(ids in vec(1..400u64, 1..300)) {
        let mut machine: Sessions<()> = Sessions::new(10);
        for id in &ids {
            prop_assert_eq!(machine.close(*id, 0), Step::Stay);
        }
        for id in 1..400 {
            let refused = matches!(machine.stream(id), Err(status) if status.code == Code::FAILED_PRECONDITION);
            prop_assert_eq!(refused, ids.contains(&id), "{}", id);
            if !refused {
                machine.stream_done(id);
                machine.close(id, 0);
                machine.step(id);
            }
        }
    }

    #[test]
    fn x1_a_lost_connection_gives_back_every_waiting_call_once(ops in vec(op(), 0..120)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
        }
        let mut lost = pair.machine.end_all();
        lost.sort();
        let expected: Vec<(u64, Vec<u32>)> = pair
            .models
            .iter()
            .filter(|(_, model)| model.open)
            .map(|(id, model)| (*id, model.queue.iter().copied().collect()))
            .collect();
        prop_assert_eq!(lost, expected);
        prop_assert!(pair.machine.is_empty());
    }
}
