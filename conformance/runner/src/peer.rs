//! A peer program: a process that is told what to do by lines of JSON, and its events.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, oneshot};

/// No command takes longer, whatever it waits for.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Lines of the conversation that a failure shows.
const TRANSCRIPT: usize = 24;
/// Longest line in a transcript.
const WIDTH: usize = 400;

/// Which side of a call a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It calls.
    Client,
    /// It serves.
    Server,
}

impl Side {
    /// The program's argument.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    events: Mutex<Vec<Value>>,
    transcript: Mutex<VecDeque<String>>,
    news: Notify,
    ended: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn note(&self, mark: &str, line: &str) {
        let mut cut: String = line.chars().take(WIDTH).collect();
        if cut.len() < line.len() {
            cut.push('…');
        }
        let mut transcript = lock(&self.transcript);
        if transcript.len() == TRANSCRIPT {
            transcript.pop_front();
        }
        transcript.push_back(format!("{mark} {cut}"));
    }

    fn heard(&self, line: &str) {
        self.note("<", line);
        let Ok(mut value) = serde_json::from_str::<Value>(line) else {
            return;
        };
        match value["id"].as_u64() {
            Some(id) => {
                if let Some(waiter) = lock(&self.waiting).remove(&id) {
                    // Whoever asked may have stopped waiting.
                    let _ = waiter.send(value.take());
                }
            }
            None => {
                lock(&self.events).push(value);
                self.news.notify_waiters();
            }
        }
    }
}

/// A running peer program.
pub struct Peer {
    /// Its language.
    pub language: String,
    shared: Arc<Shared>,
    stdin: tokio::sync::Mutex<ChildStdin>,
    child: Mutex<Child>,
    next: AtomicU64,
}

/// A command that has been sent.
pub struct Pending {
    what: String,
    reply: oneshot::Receiver<Value>,
}

impl Peer {
    /// Starts the program of a language.
    pub fn start(
        language: &str,
        command: &[String],
        side: Side,
        root: &Path,
    ) -> Result<Self, String> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| format!("{language} has no command in peers.yaml"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .arg(side.name())
            .current_dir(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("the {language} peer does not start: {program}: {error}"))?;
        let shared = Arc::new(Shared::default());
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(format!("the {language} peer has no pipes"));
        };
        let reader = shared.clone();
        tokio::spawn(async move {
            listen(stdout, |line| reader.heard(line)).await;
            reader.ended.store(true, Ordering::SeqCst);
            lock(&reader.waiting).clear();
            reader.news.notify_waiters();
        });
        let errors = shared.clone();
        tokio::spawn(async move { listen(stderr, |line| errors.note("!", line)).await });
        Ok(Self {
            language: language.to_owned(),
            shared,
            stdin: tokio::sync::Mutex::new(stdin),
            child: Mutex::new(child),
            next: AtomicU64::new(1),
        })
    }

    /// Sends a command; its reply is waited for by [`Pending::reply`].
    pub async fn send(&self, action: &str, mut command: Value) -> Result<Pending, String> {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        command["id"] = json!(id);
        command["do"] = json!(action);
        let line = command.to_string();
        self.shared.note(">", &line);
        let (waiter, reply) = oneshot::channel();
        lock(&self.shared.waiting).insert(id, waiter);
        let mut stdin = self.stdin.lock().await;
        let written = async {
            stdin.write_all(line.as_bytes()).await?;
            stdin.write_all(b"\n").await?;
            stdin.flush().await
        };
        written.await.map_err(|error| {
            format!(
                "the {} peer takes no commands any more: {error}",
                self.language
            )
        })?;
        let what = format!("the {} peer's answer to {action:?}", self.language);
        Ok(Pending { what, reply })
    }

    /// Sends a command and waits for its reply.
    pub async fn ask(&self, action: &str, command: Value) -> Result<Value, String> {
        self.send(action, command).await?.reply().await
    }

    /// As [`Peer::ask`], for a command that has to succeed: what it gives.
    pub async fn must(&self, action: &str, command: Value) -> Result<Value, String> {
        let mut reply = self.ask(action, command).await?;
        match reply.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => Err(format!(
                "{action:?} of the {} peer failed: {reply}",
                self.language
            )),
        }
    }

    /// Waits for an event of which `wanted` says yes, also one that has come already. Each is given once.
    pub async fn event(
        &self,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, String> {
        let found = async {
            loop {
                let news = self.shared.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                {
                    let mut events = lock(&self.shared.events);
                    if let Some(at) = events.iter().position(&wanted) {
                        return Ok(events.remove(at));
                    }
                }
                if self.shared.ended.load(Ordering::SeqCst) {
                    return Err(format!("the {} peer has ended", self.language));
                }
                news.await;
            }
        };
        match tokio::time::timeout(within, found).await {
            Ok(found) => found,
            Err(_) => Err(format!(
                "no such event of the {} peer within {within:?}",
                self.language
            )),
        }
    }

    /// Whether an event has come and was not asked for yet.
    pub fn has_event(&self, wanted: impl Fn(&Value) -> bool) -> bool {
        lock(&self.shared.events).iter().any(wanted)
    }

    /// Whether the process has ended.
    pub fn ended(&self) -> bool {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// The last lines of the conversation.
    pub fn transcript(&self) -> Vec<String> {
        lock(&self.shared.transcript).iter().cloned().collect()
    }

    /// Ends the process at once.
    pub fn kill(&self) -> Result<(), String> {
        lock(&self.child)
            .start_kill()
            .map_err(|error| format!("the {} peer can't be ended: {error}", self.language))
    }
}

impl Pending {
    /// Waits for the reply.
    pub async fn reply(self) -> Result<Value, String> {
        match tokio::time::timeout(LONGEST, self.reply).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(format!("{} did not come: the process has ended", self.what)),
            Err(_) => Err(format!("{} did not come within {LONGEST:?}", self.what)),
        }
    }
}

async fn listen(pipe: impl AsyncRead + Unpin, mut take: impl FnMut(&str)) {
    let mut lines = BufReader::with_capacity(1 << 16, pipe).lines();
    // A pipe that breaks and one that ends are the same: the process is gone.
    while let Ok(Some(line)) = lines.next_line().await {
        take(&line);
    }
}
