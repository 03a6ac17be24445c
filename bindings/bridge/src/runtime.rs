//! The I/O thread of the process, and the way onto it.
//!
//! All of the engine runs on one thread named `aster-io`, with a tokio runtime of its own, started when the first port is
//! made. Nothing of a language ever runs there. Languages send it [`Command`]s through one queue with one wake-up per burst.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::client::UnaryCommand;
use crate::error::{BridgeError, lock};
use crate::inbound::ReplyCommand;
use crate::port::{PortId, Shared, Ticket};

/// How long `shutdown` waits for the thread itself after the time that it gives to connections.
const THREAD_END: Duration = Duration::from_millis(250);

/// What is done on the I/O thread. The frequent ones are variants of their own, so that they need no allocation.
pub(crate) enum Command {
    Unary(UnaryCommand),
    Reply(ReplyCommand),
    /// Cancels the call or attempt that a ticket of a port waits for.
    Cancel(PortId, Ticket),
    Run(Box<dyn FnOnce() + Send>),
    /// Drops an object of the engine.
    Drop(Box<dyn Any + Send>),
    /// Closes everything, waits at most so long, and ends the thread.
    Stop(Duration),
}

#[derive(Default)]
struct Queue {
    commands: Vec<Command>,
    /// Whether the I/O thread waits for a wake-up: only then is one sent.
    idle: bool,
    /// The thread takes no more.
    ended: bool,
}

enum Life {
    Running,
    Stopped,
    Died(String),
}

/// The I/O thread, seen from the others.
pub(crate) struct Runtime {
    /// The fork generation and process that it was started in.
    generation: u64,
    pid: u32,
    queue: Mutex<Queue>,
    wake: Notify,
    /// Wakes the task that raises the descriptors of ports with new events.
    flush: Notify,
    life: Mutex<Life>,
    ended: Condvar,
}

static CURRENT: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// To be called in the child after a fork: whatever was made before it fails from now on, with a text that says why.
pub fn forked() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
}

/// Closes every client and server of the process, waits at most `timeout` until their peers have been told, and ends the
/// I/O thread. A port made later starts a new one. Returns whether all was done in time. Blocks; idempotent.
pub fn shutdown(timeout: Duration) -> bool {
    let Ok(mut current) = current_slot() else {
        return false;
    };
    let Some(runtime) = current.take() else {
        return true;
    };
    drop(current);
    if !runtime.is_of_this_process() {
        // The parent's: not ours to touch or to free.
        mem::forget(runtime);
        return true;
    }
    if runtime.send(Command::Stop(timeout)).is_err() {
        return true;
    }
    let life = lock(&runtime.life);
    let running = |life: &mut Life| matches!(life, Life::Running);
    match runtime
        .ended
        .wait_timeout_while(life, timeout + THREAD_END, running)
    {
        Ok((life, _)) => !matches!(*life, Life::Running),
        Err(_) => false,
    }
}

/// The lock that guards which runtime is the current one; bounded, since a fork may have copied it while it was held.
fn current_slot() -> Result<MutexGuard<'static, Option<Arc<Runtime>>>, BridgeError> {
    let give_up = Instant::now() + Duration::from_secs(1);
    loop {
        match CURRENT.try_lock() {
            Ok(slot) => return Ok(slot),
            Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() > give_up => {
                return Err(BridgeError::Start(
                    "another thread has been starting or stopping it for a second".to_owned(),
                ));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

impl Runtime {
    /// The runtime of this process, started if there is none.
    pub(crate) fn current() -> Result<Arc<Self>, BridgeError> {
        let mut slot = current_slot()?;
        if let Some(runtime) = slot.as_ref() {
            if runtime.is_of_this_process() && runtime.check().is_ok() {
                return Ok(runtime.clone());
            }
            // Of before a fork, or dead. Its parts may belong to the parent: leave them as they are.
            mem::forget(slot.take());
        }
        let runtime = Self::start()?;
        *slot = Some(runtime.clone());
        Ok(runtime)
    }

    fn start() -> Result<Arc<Self>, BridgeError> {
        let failed = |error: std::io::Error| BridgeError::Start(error.to_string());
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let runtime = Arc::new(Self {
            generation: GENERATION.load(Ordering::SeqCst),
            pid: std::process::id(),
            queue: Mutex::new(Queue::default()),
            wake: Notify::new(),
            flush: Notify::new(),
            life: Mutex::new(Life::Running),
            ended: Condvar::new(),
        });
        let inside = runtime.clone();
        thread::Builder::new()
            .name("aster-io".to_owned())
            .spawn(move || inside.run(tokio))
            .map_err(failed)?;
        Ok(runtime)
    }

    fn run(self: Arc<Self>, tokio: tokio::runtime::Runtime) {
        ON_IO.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| tokio.block_on(self.clone().serve())));
        {
            // What ends now may still want to spawn.
            let _inside = tokio.enter();
            // From here on nothing is raised later: what ends tells its port itself.
            ON_IO.set(false);
            for port in LOCAL.with_borrow_mut(|local| mem::take(&mut local.flush)) {
                port.flush();
            }
            let unsent = {
                let mut queue = lock(&self.queue);
                queue.ended = true;
                mem::take(&mut queue.commands)
            };
            // Their tickets fail on being dropped.
            drop(unsent);
            let local = LOCAL.with_borrow_mut(mem::take);
            drop(local);
        }
        // Work that blocks, such as a resolver, must not keep the process from ending.
        tokio.shutdown_background();
        *lock(&self.life) = match result {
            Ok(()) => Life::Stopped,
            Err(panic) => Life::Died(panic_text(&*panic).to_owned()),
        };
        self.ended.notify_all();
    }

    async fn serve(self: Arc<Self>) {
        let flusher = tokio::spawn(Self::raise_descriptors(self.clone()));
        let mut commands = Vec::new();
        let timeout = 'serving: loop {
            self.next_commands(&mut commands).await;
            for command in commands.drain(..) {
                let Command::Stop(timeout) = command else {
                    // A panic ends the one command: its ticket fails as it is dropped.
                    let result = catch_unwind(AssertUnwindSafe(|| command.run()));
                    if let Err(panic) = result {
                        tracing::error!(target: "aster::bridge", "a command panicked: {}", panic_text(&*panic));
                    }
                    continue;
                };
                break 'serving timeout;
            }
        };
        if tokio::time::timeout(timeout, close_everything())
            .await
            .is_err()
        {
            tracing::warn!(target: "aster::bridge", "not everything was closed within {} ms", timeout.as_millis());
        }
        flusher.abort();
    }

    /// Waits for commands and takes them all.
    async fn next_commands(&self, out: &mut Vec<Command>) {
        // Before it declares itself idle it lets everything else run once: commands that come meanwhile, at the pace of
        // the thread that sends them, then need no wake-up.
        for attempt in 0.. {
            {
                let mut queue = lock(&self.queue);
                if !queue.commands.is_empty() {
                    mem::swap(&mut queue.commands, out);
                    return;
                }
                queue.idle = attempt > 0;
            }
            if attempt == 0 {
                tokio::task::yield_now().await;
            } else {
                self.wake.notified().await;
            }
        }
    }

    async fn raise_descriptors(self: Arc<Self>) {
        loop {
            self.flush.notified().await;
            let ports = LOCAL.with_borrow_mut(|local| mem::take(&mut local.flush));
            for port in ports {
                port.flush();
            }
        }
    }

    /// Whether it runs in this process. The system is asked: this sees a fork of which nobody told.
    fn is_of_this_process(&self) -> bool {
        self.pid == std::process::id() && !self.is_forked()
    }

    /// Whether the process has forked since, as far as it was told.
    pub(crate) fn is_forked(&self) -> bool {
        self.generation != GENERATION.load(Ordering::Relaxed)
    }

    /// Fails if it can't do anything any more, saying why.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        if self.is_forked() {
            return Err(BridgeError::Forked);
        }
        match &*lock(&self.life) {
            Life::Running => Ok(()),
            Life::Stopped => Err(BridgeError::Stopped),
            Life::Died(text) => Err(BridgeError::Died(text.clone())),
        }
    }

    /// Has the I/O thread run a command. On failure the command is dropped, and its ticket with it.
    pub(crate) fn send(&self, command: Command) -> Result<(), BridgeError> {
        // Before the lock: in the child of a fork another thread of the parent may hold it for ever.
        if self.is_forked() {
            mem::forget(command);
            return Err(BridgeError::Forked);
        }
        let mut queue = lock(&self.queue);
        if queue.ended {
            drop(queue);
            match command {
                // The engine's objects can't end elsewhere; what they stood for has ended with the thread.
                Command::Drop(_) | Command::Reply(_) => mem::forget(command),
                Command::Unary(_) | Command::Cancel(..) | Command::Run(_) | Command::Stop(_) => {
                    drop(command)
                }
            }
            return Err(self.check().err().unwrap_or(BridgeError::Stopped));
        }
        queue.commands.push(command);
        let wake = mem::take(&mut queue.idle);
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Has the I/O thread run a closure.
    pub(crate) fn run_there(
        &self,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), BridgeError> {
        self.send(Command::Run(Box::new(work)))
    }

    /// On the I/O thread: has the descriptor of `port` raised once what is ready to run has run.
    pub(crate) fn flush_soon(&self, port: Arc<Shared>) {
        let first = LOCAL.with_borrow_mut(|local| {
            local.flush.push(port);
            local.flush.len() == 1
        });
        if first {
            self.flush.notify_one();
        }
    }
}

impl Command {
    fn run(self) {
        match self {
            Command::Unary(unary) => unary.run(),
            Command::Reply(reply) => reply.run(),
            Command::Cancel(port, ticket) => cancel(port, ticket),
            Command::Run(work) => work(),
            Command::Drop(object) => drop(object),
            Command::Stop(_) => {}
        }
    }
}

/// The text of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text")
}

// ---------------------------------------------------------------- what lives on the I/O thread

/// Ends one thing in an orderly way.
pub(crate) type Closer = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Ends what a ticket waits for at once.
pub(crate) enum Canceller {
    Call(aster::CallHandle),
    Task(AbortHandle),
    /// That has been done: its completion is on its way.
    Cancelled,
}

/// Names a client, server, session or call in the process.
pub(crate) type Key = u64;

#[derive(Default)]
struct Local {
    /// Ports with events that their loops have not been told of.
    flush: Vec<Arc<Shared>>,
    /// What must be closed before its port or the process ends.
    closers: HashMap<(PortId, Key), Closer>,
    /// What tickets wait for.
    tickets: HashMap<(PortId, Ticket), Canceller>,
    /// A ticket that ended before it was known how to cancel it.
    ended_early: Option<(PortId, Ticket)>,
    /// Streaming calls that this side makes.
    streams: HashMap<(PortId, Key), AbortHandle>,
    /// Closing that nobody waits for but the end of the thread.
    closing: JoinSet<()>,
}

thread_local! {
    static ON_IO: Cell<bool> = const { Cell::new(false) };
    static LOCAL: RefCell<Local> = RefCell::new(Local::default());
}

/// Whether this is the I/O thread.
pub(crate) fn on_io_thread() -> bool {
    ON_IO.get()
}

/// A key that no other client, server, session or call of the process has.
pub(crate) fn next_key() -> Key {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

// Everything below is for the I/O thread. What is taken out of a map is dropped or called outside of the borrow: the
// engine may call back.

/// Notes how to close what `key` names.
pub(crate) fn register(port: PortId, key: Key, closer: Closer) {
    let before = LOCAL.with_borrow_mut(|local| local.closers.insert((port, key), closer));
    drop(before);
}

/// Closes what `key` names, if it is open still.
pub(crate) async fn close(port: PortId, key: Key) {
    let closer = LOCAL.with_borrow_mut(|local| local.closers.remove(&(port, key)));
    if let Some(closer) = closer {
        closer().await;
    }
}

/// Forgets what `key` names, since it has ended by itself.
pub(crate) fn unregister(port: PortId, key: Key) {
    let closer = LOCAL.with_borrow_mut(|local| local.closers.remove(&(port, key)));
    drop(closer);
}

/// Runs `closing` to its end even if nobody waits for it; the end of the thread does, for a bounded time.
pub(crate) fn close_in_background(closing: impl Future<Output = ()> + Send + 'static) {
    LOCAL.with_borrow_mut(|local| {
        // What has ended by now is forgotten here.
        while local.closing.try_join_next().is_some() {}
        local.closing.spawn(closing);
    });
}

/// Closes all things of the ports chosen, side by side, and cancels their calls.
pub(crate) async fn close_all(chosen: impl Fn(PortId) -> bool) {
    let (calls, streams, closers) = LOCAL.with_borrow_mut(|local| {
        let calls: Vec<_> = local
            .tickets
            .extract_if(|(port, _), _| chosen(*port))
            .collect();
        let streams: Vec<_> = local
            .streams
            .extract_if(|(port, _), _| chosen(*port))
            .collect();
        let closers: Vec<_> = local
            .closers
            .extract_if(|(port, _), _| chosen(*port))
            .collect();
        (calls, streams, closers)
    });
    for (_, call) in calls {
        match call {
            Canceller::Call(call) => call.cancel(),
            Canceller::Task(task) => task.abort(),
            Canceller::Cancelled => {}
        }
    }
    for (_, task) in streams {
        task.abort();
    }
    let mut closing: JoinSet<()> = closers.into_iter().map(|(_, closer)| closer()).collect();
    while let Some(ended) = closing.join_next().await {
        if let Err(error) = ended {
            tracing::error!(target: "aster::bridge", "closing failed: {error}");
        }
    }
}

/// Closes everything there is, and waits for what is being closed already.
async fn close_everything() {
    let mut closing = LOCAL.with_borrow_mut(|local| mem::take(&mut local.closing));
    close_all(|_| true).await;
    while closing.join_next().await.is_some() {}
}

/// Notes how to cancel what `ticket` waits for.
pub(crate) fn cancellable(port: PortId, ticket: Ticket, canceller: Canceller) {
    LOCAL.with_borrow_mut(|local| local.tickets.insert((port, ticket), canceller));
}

/// Begins a call that may end, and so complete `ticket`, before it is known how to cancel it.
pub(crate) fn begin(port: PortId, ticket: Ticket, begin: impl FnOnce() -> aster::CallHandle) {
    LOCAL.with_borrow_mut(|local| local.ended_early = None);
    let handle = begin();
    LOCAL.with_borrow_mut(|local| {
        if local.ended_early.take() != Some((port, ticket)) {
            local
                .tickets
                .insert((port, ticket), Canceller::Call(handle));
        }
    });
}

/// What `ticket` waits for has ended. Gives how it could have been cancelled. Elsewhere than on the I/O thread, where
/// only what never got there ends, it does nothing.
pub(crate) fn ended(port: PortId, ticket: Ticket) -> Option<Canceller> {
    // During the end of the thread the map may be gone.
    LOCAL
        .try_with(|local| {
            let mut local = local.try_borrow_mut().ok()?;
            let canceller = local.tickets.remove(&(port, ticket));
            if canceller.is_none() {
                local.ended_early = Some((port, ticket));
            }
            canceller
        })
        .ok()
        .flatten()
}

/// Cancels what `ticket` waits for, if it has not ended. Its completion says that it was cancelled, or how it ended.
pub(crate) fn cancel(port: PortId, ticket: Ticket) {
    let canceller = LOCAL.with_borrow_mut(|local| {
        local
            .tickets
            .get_mut(&(port, ticket))
            .map(|canceller| mem::replace(canceller, Canceller::Cancelled))
    });
    match canceller {
        Some(Canceller::Call(call)) => call.cancel(),
        Some(Canceller::Task(task)) => task.abort(),
        Some(Canceller::Cancelled) | None => {}
    }
}

/// Notes a streaming call.
pub(crate) fn stream_began(port: PortId, key: Key, task: AbortHandle) {
    LOCAL.with_borrow_mut(|local| local.streams.insert((port, key), task));
}

/// Forgets a streaming call: it has ended, or is to end now.
pub(crate) fn stream_ended(port: PortId, key: Key) -> Option<AbortHandle> {
    LOCAL
        .try_with(|local| local.try_borrow_mut().ok()?.streams.remove(&(port, key)))
        .ok()
        .flatten()
}
