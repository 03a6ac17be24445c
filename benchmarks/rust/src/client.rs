//! One connection, and what the measuring loops do with it.

use std::sync::Arc;

use aster::{
    Address, CallOptions, CallReceiver, CallSender, Client, ClientOptions, Method, Network, Session,
};
use serde::de::DeserializeOwned;

use crate::Result;
use crate::messages::{
    Blob, ChatMessage, DownloadRequest, IngestResult, LogEntry, MetricPoint, StatusRequest,
    StatusResponse, TailRequest, decode, encode,
};
use crate::server::{bench_contract, session_contract};
use crate::spec::Data;

struct Methods {
    status: Method,
    ingest: Method,
    tail: Method,
    chat: Method,
    echo: Method,
    download: Method,
    session_status: Method,
}

impl Methods {
    fn new() -> Result<Methods> {
        let (bench, session) = (bench_contract()?, session_contract()?);
        let method = |contract, name: &str| {
            Method::new(contract, name).ok_or_else(|| format!("no method {name} in the contract"))
        };
        Ok(Methods {
            status: method(&bench, "getStatus")?,
            ingest: method(&bench, "ingestMetrics")?,
            tail: method(&bench, "tailLogs")?,
            chat: method(&bench, "chat")?,
            echo: method(&bench, "echo")?,
            download: method(&bench, "download")?,
            session_status: method(&session, "getStatus")?,
        })
    }
}

/// A connection of its own, with an endpoint of its own: nothing is shared with another one.
#[derive(Clone)]
pub(crate) struct Connection {
    client: Client,
    methods: Arc<Methods>,
    data: Arc<Data>,
}

impl Connection {
    pub(crate) async fn open(address: &str, data: Arc<Data>) -> Result<Connection> {
        let address: Address = address.parse()?;
        let mut options = ClientOptions::default();
        options.endpoint.network = Network::Local;
        Ok(Connection {
            client: Client::connect(vec![address], options).await?,
            methods: Arc::new(Methods::new()?),
            data,
        })
    }

    pub(crate) async fn close(&self) {
        self.client.close().await;
    }

    pub(crate) async fn status(&self, agent_id: &str) -> Result<StatusResponse> {
        self.status_with(&self.methods.status, agent_id, CallOptions::new())
            .await
    }

    async fn status_with(
        &self,
        method: &Method,
        agent_id: &str,
        options: CallOptions,
    ) -> Result<StatusResponse> {
        let request = encode(&StatusRequest {
            agent_id: agent_id.to_owned(),
        })?;
        let answer = self.client.unary(method, request.into(), options).await?;
        decode(&answer.message)
    }

    pub(crate) async fn ingest(&self) -> Result<Ingest> {
        let (sender, receiver) = self
            .client
            .start(&self.methods.ingest, CallOptions::new())
            .await?;
        Ok(Ingest {
            sender,
            receiver,
            data: self.data.clone(),
        })
    }

    /// Calls `seen` with every entry; stops, and cancels the call, when it returns false.
    pub(crate) async fn tail(
        &self,
        count: usize,
        mut seen: impl FnMut(&LogEntry) -> bool,
    ) -> Result<()> {
        let request = TailRequest {
            count: i64::try_from(count)?,
        };
        let mut entries: Messages<LogEntry> =
            Messages::start(&self.client, &self.methods.tail, &request).await?;
        while let Some(entry) = entries.next().await? {
            if !seen(&entry) {
                break;
            }
        }
        Ok(())
    }

    pub(crate) async fn download(&self, count: usize, size: usize) -> Result<Messages<Blob>> {
        let request = DownloadRequest {
            count: i64::try_from(count)?,
            size: i64::try_from(size)?,
        };
        Messages::start(&self.client, &self.methods.download, &request).await
    }

    pub(crate) async fn chat(&self) -> Result<Chat> {
        let (sender, receiver) = self
            .client
            .start(&self.methods.chat, CallOptions::new())
            .await?;
        Ok(Chat { sender, receiver })
    }

    pub(crate) async fn echo(&self, data: Vec<u8>) -> Result<Vec<u8>> {
        let request = encode(&Blob { data })?;
        let answer = self
            .client
            .unary(&self.methods.echo, request.into(), CallOptions::new())
            .await?;
        Ok(decode::<Blob>(&answer.message)?.data)
    }

    /// A new session that has made one call.
    pub(crate) async fn session(&self) -> Result<Session> {
        let session = self.client.open_session("BenchSession", false);
        let mut options = CallOptions::new();
        options.session = Some(session.clone());
        self.status_with(&self.methods.session_status, "a", options)
            .await?;
        Ok(session)
    }
}

/// A client stream of points.
pub(crate) struct Ingest {
    sender: CallSender,
    receiver: CallReceiver,
    data: Arc<Data>,
}

impl Ingest {
    pub(crate) async fn send(&mut self, i: usize) -> Result<()> {
        let data = &self.data;
        let point = MetricPoint {
            name: data.metric_name.clone(),
            value: i as f64 * data.metric_value_step,
            timestamp: data.timestamp0 + i as f64,
            tags: data.tags.clone(),
        };
        Ok(self.sender.send(encode(&point)?.into()).await?)
    }

    pub(crate) async fn finish(self) -> Result<IngestResult> {
        let Ingest {
            sender,
            mut receiver,
            ..
        } = self;
        sender.finish();
        let answer = receiver
            .next()
            .await?
            .ok_or("the stream ended without an answer")?;
        decode(&answer)
    }
}

/// The messages of a server stream.
pub(crate) struct Messages<T> {
    receiver: CallReceiver,
    message: std::marker::PhantomData<T>,
}

impl<T: DeserializeOwned> Messages<T> {
    async fn start(
        client: &Client,
        method: &Method,
        request: &impl serde::Serialize,
    ) -> Result<Messages<T>> {
        let (mut sender, receiver) = client.start(method, CallOptions::new()).await?;
        sender.send(encode(request)?.into()).await?;
        sender.finish();
        Ok(Messages {
            receiver,
            message: std::marker::PhantomData,
        })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<T>> {
        match self.receiver.next().await? {
            Some(payload) => decode(&payload).map(Some),
            None => Ok(None),
        }
    }
}

/// A bidirectional stream, used one message at a time.
pub(crate) struct Chat {
    sender: CallSender,
    receiver: CallReceiver,
}

impl Chat {
    pub(crate) async fn trip(&mut self, seq: i64, text: &str) -> Result<ChatMessage> {
        let message = ChatMessage {
            seq,
            text: text.to_owned(),
        };
        self.sender.send(encode(&message)?.into()).await?;
        let reply = self.receiver.next().await?.ok_or("the chat ended")?;
        decode(&reply)
    }

    /// Ends the stream from this side and waits for the end of the other.
    pub(crate) async fn close(self) -> Result<()> {
        let Chat {
            sender,
            mut receiver,
        } = self;
        sender.finish();
        match receiver.next().await? {
            None => Ok(()),
            Some(_) => Err("the chat went on after its end".into()),
        }
    }
}
