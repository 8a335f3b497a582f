//! One session of the server: start-up, then rounds of requests, each run when its last message has arrived.
//!
//! A statement takes effect between its two ways over the network, so whatever cuts the connection may fall before or after it.

use crate::log::Event;
use crate::network::{Connection, Loss, Reset};
use crate::statement::{self, Shape};
use crate::wire::{self, Answer, Request};
use crate::world::Server;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// The session is over, by whosever doing.
struct Over;

impl From<Reset> for Over {
    fn from(_: Reset) -> Self {
        Self
    }
}

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

struct Session {
    server: Arc<Server>,
    host: Arc<str>,
    connection: Connection,
    stream: DuplexStream,
    arrived: BytesMut,
    /// Requests that wait for the end of their round.
    round: Vec<Request>,
    answer: Answer,
    who: Arc<str>,
    pid: i32,
    statements: HashMap<String, &'static Shape>,
    portals: HashMap<String, (&'static Shape, Vec<Option<Bytes>>)>,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(server: Arc<Server>, host: Arc<str>, stream: DuplexStream) {
    let (sender, notifications) = mpsc::unbounded_channel();
    let mut session = Session {
        connection: server.network.connect(&host),
        stream,
        arrived: BytesMut::new(),
        round: Vec::new(),
        answer: Answer::default(),
        who: host.clone(),
        pid: 0,
        statements: HashMap::new(),
        portals: HashMap::new(),
        server,
        host,
    };
    if session.start(sender).await.is_ok() {
        let Err(Over) = session.talk(notifications).await;
        session.server.store().close(session.pid);
        session.log(Event::Closed);
    }
}

impl Session {
    fn log(&self, event: Event) {
        self.server.push(&self.who, event);
    }

    async fn start(&mut self, notifications: mpsc::UnboundedSender<String>) -> Result<(), Over> {
        let parameters = loop {
            if let Some(parameters) = wire::next_startup(&mut self.arrived)? {
                break parameters;
            }
            if self.stream.read_buf(&mut self.arrived).await? == 0 {
                return Err(Over);
            }
        };
        self.connection.pass().await?;
        if let Some(name) = parameters.get("application_name") {
            self.who = name.as_str().into();
        }
        self.pid = self.server.store().open(notifications);
        self.log(Event::Opened);
        self.answer.welcome(self.pid);
        Ok(())
    }

    async fn talk(&mut self, mut notifications: mpsc::UnboundedReceiver<String>) -> Result<Infallible, Over> {
        self.send().await?;
        loop {
            tokio::select! {
                biased;
                () = self.connection.reset() => return Err(Over),
                read = self.stream.read_buf(&mut self.arrived) => {
                    if read? == 0 {
                        self.connection.pass().await?;
                        return Err(Over);
                    }
                    self.rounds().await?;
                }
                Some(payload) = notifications.recv() => {
                    self.answer.notification(faultline_store::enqueue::CHANNEL, &payload);
                    self.send().await?;
                }
            }
        }
    }

    /// Runs every round that has arrived as a whole.
    async fn rounds(&mut self) -> Result<(), Over> {
        while let Some(request) = wire::next(&mut self.arrived)? {
            let is_last = matches!(request, Request::Sync | Request::Query { .. } | Request::Terminate);
            self.round.push(request);
            if is_last {
                self.connection.pass().await?;
                for request in std::mem::take(&mut self.round) {
                    self.run(request).await?;
                }
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Over> {
        if !self.answer.is_empty() {
            self.connection.pass().await?;
            self.stream.write_all(&self.answer.take()).await?;
        }
        Ok(())
    }

    async fn run(&mut self, request: Request) -> Result<(), Over> {
        match request {
            Request::Parse { name, sql } => match statement::find(&sql) {
                Some(shape) => {
                    self.statements.insert(name, shape);
                    self.answer.parsed();
                }
                None => self.refuse("0A000", format!("not part of the simulation: {sql}")),
            },
            Request::Bind { portal, statement, values } => {
                if let Some(shape) = self.statements.get(&statement) {
                    self.portals.insert(portal, (shape, values));
                    self.answer.bound();
                }
            }
            Request::Describe { is_portal: true, name } => {
                if let Some((shape, _)) = self.portals.get(&name) {
                    self.answer.columns(shape);
                }
            }
            Request::Describe { is_portal: false, name } => {
                if let Some(shape) = self.statements.get(&name) {
                    self.answer.parameters(shape);
                    self.answer.columns(shape);
                }
            }
            Request::Execute { portal } => {
                if let Some((shape, values)) = self.portals.remove(&portal) {
                    self.execute(shape, &values).await?;
                }
            }
            Request::Close { is_portal, name } => {
                if is_portal {
                    self.portals.remove(&name);
                } else {
                    self.statements.remove(&name);
                }
                self.answer.closed();
            }
            Request::Sync => self.answer.ready(),
            Request::Query { sql } => {
                if sql == format!("listen {}", faultline_store::enqueue::CHANNEL) {
                    self.server.store().listen(self.pid);
                    self.answer.done("LISTEN");
                } else if ["begin", "rollback"].contains(&&*sql) {
                    // Around what changes nothing here.
                    self.answer.done(&sql.to_uppercase());
                } else {
                    self.refuse("0A000", format!("not part of the simulation: {sql}"));
                }
                self.answer.ready();
            }
            Request::Terminate => return Err(Over),
        }
        Ok(())
    }

    async fn execute(&mut self, shape: &'static Shape, values: &[Option<Bytes>]) -> Result<(), Over> {
        let loss = self.server.network.spring(&self.host, shape.statement);
        if let Some(loss) = loss {
            self.log(Event::Fault(format!("{loss:?} of {:?}", shape.statement)));
        }
        if loss == Some(Loss::RequestReset) {
            return Err(Over);
        }
        if self.server.refuses(shape.statement) {
            self.log(Event::Fault(format!("no space for {:?}", shape.statement)));
            self.answer.error("53100", "could not extend file: No space left on device");
            return Ok(());
        }
        self.log(Event::Ran(shape.statement));
        let answer = self.server.run(shape, values, self.pid, &self.who);
        match loss {
            Some(Loss::AnswerReset | Loss::RequestReset) => return Err(Over),
            Some(Loss::AnswerSilent) => self.fall_silent().await?,
            None => {}
        }
        match answer {
            Ok(rows) => self.answer.rows(rows),
            Err(text) => self.refuse("22023", text),
        }
        Ok(())
    }

    /// Says nothing any more, and reads until the client gives up.
    async fn fall_silent(&mut self) -> Result<(), Over> {
        loop {
            let read = tokio::select! {
                biased;
                () = self.connection.reset() => return Err(Over),
                read = self.stream.read_buf(&mut self.arrived) => read?,
            };
            if read == 0 {
                return Err(Over);
            }
        }
    }

    fn refuse(&mut self, code: &str, text: String) {
        self.answer.error(code, &text);
        self.log(Event::Refused(text));
    }
}
