//! The eight workloads, measured by the rules of the peer benchmark.
//!
//! Those that need no more than a small call and an echo are measured over the bare transport too.
//!
//! Every workload is bounded by a number of operations and by time, warms up first, checks what it gets
//! back, and uses a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::Result;
use crate::accounting::{Clock, percentile, rss_kib};
use crate::client::Connection;
use crate::raw;
use crate::spec::{Args, Data, Sizes};

type Fields = Map<String, Value>;

/// A quick peer repeats W3, W4 and W7 for at least this long.
const AT_LEAST: Duration = Duration::from_millis(500);
/// How often a stream looks at the clock, in messages; a power of two.
const LOOK_EVERY: usize = 64;

/// What is measured: calls of Aster, or the transport by itself.
pub(crate) trait Caller: Sized {
    /// A new connection, with nothing shared with another one.
    async fn connect(args: &Args) -> Result<Self>;
    /// A small call and its answer, checked.
    async fn small(&self, data: &Data) -> Result<()>;
    /// What was sent comes back.
    async fn echo(&self, payload: Vec<u8>) -> Result<Vec<u8>>;
    /// Ends the connection in an orderly way.
    async fn close(&self);
}

impl Caller for Connection {
    async fn connect(args: &Args) -> Result<Self> {
        Connection::open(&args.address, args.data.clone()).await
    }

    async fn small(&self, data: &Data) -> Result<()> {
        let reply = self.status(&data.agent_id).await?;
        check(
            reply.agent_id == data.agent_id
                && reply.uptime_secs == data.uptime_secs
                && reply.status == data.status,
            "status",
        )
    }

    async fn echo(&self, payload: Vec<u8>) -> Result<Vec<u8>> {
        Connection::echo(self, payload).await
    }

    async fn close(&self) {
        Connection::close(self).await;
    }
}

/// Runs the workloads that were asked for and prints one JSON line each.
pub(crate) async fn run(args: &Args) {
    for workload in &args.workloads {
        let outcome = match args.sizes(workload) {
            Ok(sizes) if args.role == "raw-client" => transport(args, workload, sizes).await,
            Ok(sizes) => one(args, workload, sizes).await,
            Err(error) => Err(error),
        };
        let (unit, better) = args.meta(workload).unwrap_or_default();
        let mut line = Fields::new();
        line.insert("workload".into(), json!(workload));
        line.insert("security".into(), json!("tls"));
        line.insert("unit".into(), json!(unit));
        line.insert("better".into(), json!(better));
        line.insert("ok".into(), json!(outcome.is_ok()));
        match outcome {
            Ok(fields) => line.extend(fields),
            Err(error) => {
                let text: String = error.to_string().chars().take(300).collect();
                line.insert("error".into(), json!(text));
            }
        }
        println!("{}", Value::Object(line));
    }
}

async fn one(args: &Args, workload: &str, sizes: Sizes) -> Result<Fields> {
    match workload {
        "W1" => sequential_unary::<Connection>(args, sizes).await,
        "W2" => concurrent_unary(args, sizes).await,
        "W3" => client_stream(args, sizes).await,
        "W4" => server_stream(args, sizes).await,
        "W5" => ping_pong(args, sizes).await,
        "W6" => large_echo::<Connection>(args, sizes).await,
        "W7" => new_connections::<Connection>(args, sizes).await,
        "W8" => idle_connections::<Connection>(args, sizes).await,
        other => {
            Err(format!("workload {other} is in the specification but not in this crate").into())
        }
    }
}

async fn transport(args: &Args, workload: &str, sizes: Sizes) -> Result<Fields> {
    match workload {
        // On one stream a small call is a ping-pong.
        "W1" | "W5" => sequential_unary::<raw::Connection>(args, sizes).await,
        "W6" => large_echo::<raw::Connection>(args, sizes).await,
        "W7" => new_connections::<raw::Connection>(args, sizes).await,
        "W8" => idle_connections::<raw::Connection>(args, sizes).await,
        other => Err(format!("{other} is not measured over the bare transport").into()),
    }
}

fn check(holds: bool, what: &str) -> Result<()> {
    holds
        .then_some(())
        .ok_or_else(|| format!("the peer returned the wrong result: {what}").into())
}

/// Repeats a call for `$seconds`, unmeasured.
macro_rules! warm_up {
    ($seconds:expr, $call:expr) => {{
        let end = Instant::now() + Duration::from_secs_f64($seconds);
        while Instant::now() < end {
            $call;
        }
    }};
}

/// Repeats a call up to the bounds and takes the time of each.
macro_rules! timed {
    ($args:expr, $sizes:expr, $call:expr) => {{
        let clock = Clock::start(&$args.server_pids)?;
        let end = clock.started + $sizes.limit;
        let mut latencies = Vec::with_capacity(1 << 16);
        let mut before = Instant::now();
        while latencies.len() < $sizes.n && before < end {
            $call;
            let after = Instant::now();
            latencies.push(after - before);
            before = after;
        }
        (clock.stop()?, latencies)
    }};
}

/// W1: one caller, one call at a time.
async fn sequential_unary<C: Caller>(args: &Args, sizes: Sizes) -> Result<Fields> {
    let connection = C::connect(args).await?;
    warm_up!(sizes.warm, connection.small(&args.data).await?);
    let (taken, latencies) = timed!(args, sizes, connection.small(&args.data).await?);
    connection.close().await;
    let n = latencies.len();
    Ok(taken.fields(n as f64 / taken.seconds, 1, n, &latencies))
}

/// W2: many callers on one connection.
async fn concurrent_unary(args: &Args, sizes: Sizes) -> Result<Fields> {
    let connection = Connection::connect(args).await?;
    fan_out(
        &connection,
        &args.data,
        sizes.n,
        Duration::from_secs_f64(sizes.warm),
    )
    .await?;
    let clock = Clock::start(&args.server_pids)?;
    let latencies = fan_out(&connection, &args.data, sizes.n, sizes.limit).await?;
    let taken = clock.stop()?;
    connection.close().await;
    let n = latencies.len();
    Ok(taken.fields(n as f64 / taken.seconds, 1, n, &latencies))
}

async fn fan_out(
    connection: &Connection,
    data: &Arc<Data>,
    total: usize,
    limit: Duration,
) -> Result<Vec<Duration>> {
    let left = Arc::new(AtomicI64::new(i64::try_from(total)?));
    let end = Instant::now() + limit;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..data.concurrency {
        let (connection, left, data) = (connection.clone(), left.clone(), data.clone());
        callers.spawn(async move {
            let mut latencies = Vec::new();
            let mut before = Instant::now();
            while before < end && left.fetch_sub(1, Ordering::Relaxed) > 0 {
                connection.status(&data.agent_id).await?;
                let after = Instant::now();
                latencies.push(after - before);
                before = after;
            }
            Result::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(outcome) = callers.join_next().await {
        all.extend(outcome??); // the set is dropped with the error, which ends the other callers
    }
    Ok(all)
}

/// W3: one stream of points to the server, one result back.
async fn client_stream(args: &Args, sizes: Sizes) -> Result<Fields> {
    let connection = Connection::connect(args).await?;
    ingest(&connection, sizes.warm as usize, sizes.limit).await?;
    let clock = Clock::start(&args.server_pids)?;
    let mut accepted = 0;
    while accepted == 0 || clock.started.elapsed() < AT_LEAST {
        accepted += ingest(&connection, sizes.n, sizes.limit).await?;
    }
    let taken = clock.stop()?;
    connection.close().await;
    Ok(taken.fields(accepted as f64 / taken.seconds, 1, accepted, &[]))
}

/// One stream, ended early when time is up; every point that was sent must have arrived.
async fn ingest(connection: &Connection, count: usize, limit: Duration) -> Result<usize> {
    let end = Instant::now() + limit;
    let mut stream = connection.ingest().await?;
    let mut sent = 0;
    for i in 0..count {
        if i % LOOK_EVERY == 0 && Instant::now() > end {
            break;
        }
        stream.send(i).await?;
        sent += 1;
    }
    let result = stream.finish().await?;
    check(
        result.accepted == i64::try_from(sent)?,
        &format!("{} accepted of {sent}", result.accepted),
    )?;
    Ok(sent)
}

/// W4: one stream of log entries from the server.
async fn server_stream(args: &Args, sizes: Sizes) -> Result<Fields> {
    let connection = Connection::connect(args).await?;
    connection.tail(sizes.warm as usize, |_| true).await?;
    let clock = Clock::start(&args.server_pids)?;
    let end = clock.started + sizes.limit;
    let (mut bytes, mut got) = (0, 0);
    while got == 0 || (clock.started.elapsed() < AT_LEAST && Instant::now() < end) {
        connection
            .tail(sizes.n, |entry| {
                bytes += entry.message.len();
                got += 1;
                got % LOOK_EVERY != 0 || Instant::now() < end
            })
            .await?;
    }
    let taken = clock.stop()?;
    check(bytes == got * args.data.log_message_len, "log entries")?;
    connection.close().await;
    Ok(taken.fields(got as f64 / taken.seconds, 1, got, &[]))
}

/// W5: one message there, one back, one at a time.
async fn ping_pong(args: &Args, sizes: Sizes) -> Result<Fields> {
    let connection = Connection::connect(args).await?;
    let text = &args.data.chat_text;
    let mut chat = connection.chat().await?;
    let reply = chat.trip(7, text).await?;
    check(reply.seq == 7 && reply.text == *text, "chat")?;
    warm_up!(sizes.warm, chat.trip(0, text).await?);
    let mut seq = 0;
    let (taken, latencies) = timed!(args, sizes, {
        let reply = chat.trip(seq, text).await?;
        check(reply.seq == seq, "chat order")?;
        seq += 1;
    });
    chat.close().await?;
    connection.close().await;
    let n = latencies.len();
    Ok(taken.fields(n as f64 / taken.seconds, 1, n, &latencies))
}

/// W6: random bytes echoed, one call at a time; MB/s of payload in one direction.
async fn large_echo<C: Caller>(args: &Args, sizes: Sizes) -> Result<Fields> {
    use std::io::Read;
    let connection = C::connect(args).await?;
    let mut payload = vec![0; args.data.echo_bytes];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut payload)?;
    check(connection.echo(payload.clone()).await? == payload, "echo")?;
    let echo = async || {
        let back = connection.echo(payload.clone()).await?;
        check(back.len() == payload.len(), "echo length")
    };
    warm_up!(sizes.warm, echo().await?);
    let (taken, latencies) = timed!(args, sizes, echo().await?);
    connection.close().await;
    let n = latencies.len();
    let megabytes = (n * args.data.echo_bytes) as f64 / 1e6;
    Ok(taken.fields(megabytes / taken.seconds, 2, n, &latencies))
}

async fn fresh<C: Caller>(args: &Args) -> Result<C> {
    let connection = C::connect(args).await?;
    connection.small(&args.data).await?;
    Ok(connection)
}

/// W7: time to the first answer on a new connection, in milliseconds, the median.
async fn new_connections<C: Caller>(args: &Args, sizes: Sizes) -> Result<Fields> {
    warm_up!(sizes.warm, fresh::<C>(args).await?.close().await);
    let clock = Clock::start(&args.server_pids)?;
    let mut latencies = Vec::new();
    loop {
        // n of them, more if they are quick, fewer if they are very slow, never less than five
        let (done, spent) = (latencies.len(), clock.started.elapsed());
        let wanted = done < sizes.n || (spent < AT_LEAST && done < 20 * sizes.n);
        if done >= 5 && (!wanted || spent > sizes.limit) {
            break;
        }
        let before = Instant::now();
        let connection = fresh::<C>(args).await?;
        latencies.push(before.elapsed());
        connection.close().await;
    }
    let taken = clock.stop()?;
    let median = percentile(&latencies, 0.5).as_secs_f64() * 1e3;
    Ok(taken.fields(median, 3, latencies.len(), &latencies))
}

/// W8: growth of the server's memory per connection that has made one call and is kept, in KiB.
async fn idle_connections<C: Caller>(args: &Args, sizes: Sizes) -> Result<Fields> {
    let pids = &args.server_pids;
    if pids.is_empty() {
        return Err("W8 needs --server-pids".into());
    }
    let data = &args.data;
    let first = C::connect(args).await?;
    for _ in 0..20 {
        first.small(data).await?;
    }
    tokio::time::sleep(data.settle()).await;
    let before = rss_kib(pids)?;
    let clock = Clock::start(pids)?;
    let end = clock.started + sizes.limit;
    let mut held = Vec::new();
    while held.len() < sizes.n && Instant::now() < end {
        held.push(fresh::<C>(args).await?);
    }
    let taken = clock.stop()?;
    tokio::time::sleep(data.settle()).await;
    let after = rss_kib(pids)?;
    for connection in held.first().into_iter().chain(held.last()) {
        connection.small(data).await?; // still alive
    }
    let mut fields = taken.fields((after - before) / held.len() as f64, 2, held.len(), &[]);
    fields.insert("rss_base_kib".into(), json!(before));
    for connection in held {
        connection.close().await;
    }
    Ok(fields)
}
