//! One connection through a proxy: two directions, each a reader, which knows messages, and a writer, which is late or holds.
//!
//! What a reader took is acknowledged to its sender and in nobody's hands but ours, as in a network's buffers. The end of a connection
//! is a message like any other: while a direction is held, it does not arrive either.

use super::wire::{Replies, Requests};
use super::{Cut, Link, Noise, Rules};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;

/// Pieces on their way in one direction; more wait in the sender's socket.
const ON_THE_WAY: usize = 256;
/// Bytes read at once.
const PIECE: usize = 16 * 1024;

/// A piece on its way.
enum Piece {
    /// Data, and when it arrives.
    Data(Instant, Vec<u8>),
    /// Here the connection is cut.
    Cut { hold: bool },
}

/// How a direction ended.
#[derive(PartialEq, Eq)]
enum End {
    /// The sender has closed, and everything has arrived.
    Closed,
    /// By an RST.
    Reset,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToDatabase,
    FromDatabase,
}

/// What the two directions share.
struct Shared {
    link: Arc<Link>,
    number: u64,
    listens: AtomicBool,
    /// Messages sent that the server answers with a `ReadyForQuery`.
    asked: AtomicU64,
    /// The one of them whose answer is cut; 0: none.
    doomed: AtomicU64,
    /// Whether half of it arrives.
    by_half: AtomicBool,
    /// Whether the link is held from then on.
    holds: AtomicBool,
}

/// Serves a connection to its end.
pub(super) async fn run(link: Arc<Link>, mut client: TcpStream, target: SocketAddr, number: u64, mut rng: StdRng) {
    let mut rules = link.rules.subscribe();
    if rules.borrow().refuse {
        let _ = client.set_zero_linger();
        return;
    }
    // A connection that cannot reach the server does not reach it later than what is sent on it.
    if rules.wait_for(|rules| !rules.holds_to_database()).await.is_err() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let shared = Shared {
        link: link.clone(),
        number,
        listens: AtomicBool::new(false),
        asked: AtomicU64::new(0),
        doomed: AtomicU64::new(0),
        by_half: AtomicBool::new(false),
        holds: AtomicBool::new(false),
    };
    let end = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let (up, going_up) = mpsc::channel(ON_THE_WAY);
        let (down, going_down) = mpsc::channel(ON_THE_WAY);
        let (up_delay, down_delay) = (Delay::new(&link, &mut rng), Delay::new(&link, &mut rng));
        let reset = rules.wait_for(|rules| rules.reset_before > number);
        tokio::select! {
            end = direction(
                requests(&shared, from_client, up, up_delay),
                write(&shared, Direction::ToDatabase, to_server, going_up),
            ) => end,
            end = direction(
                replies(&shared, from_server, down, down_delay),
                write(&shared, Direction::FromDatabase, to_client, going_down),
            ) => end,
            _ = reset => End::Reset,
        }
    };
    if end == End::Reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// A direction ends with its writer.
async fn direction(reader: impl Future<Output = ()>, writer: impl Future<Output = End>) -> End {
    let read = async {
        reader.await;
        std::future::pending().await
    };
    tokio::select! {
        end = writer => end,
        end = read => end,
    }
}

/// Reads what the client says.
async fn requests(shared: &Shared, mut from: ReadHalf<'_>, to: mpsc::Sender<Piece>, mut delay: Delay) {
    let mut requests = Requests::default();
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        requests.push(&piece[..length]);
        let mut data = Vec::new();
        while let Some(request) = requests.next() {
            shared.listens.fetch_or(request.listens, Ordering::AcqRel);
            let cut = request.commits.and_then(|commits| shared.link.take_cut(commits));
            if let Some((Cut::Before | Cut::MidRequest, hold)) = cut {
                if matches!(cut, Some((Cut::MidRequest, _))) {
                    data.extend_from_slice(&request.bytes[..request.bytes.len() / 2]);
                }
                let _ = to.send(Piece::Data(Instant::now(), data)).await;
                let _ = to.send(Piece::Cut { hold }).await;
                // The writer ends the connection.
                return std::future::pending().await;
            }
            let asked = shared.asked.fetch_add(u64::from(request.is_asking), Ordering::AcqRel);
            if let Some((cut, hold)) = cut {
                shared.by_half.store(cut == Cut::MidReply, Ordering::Release);
                shared.holds.store(hold, Ordering::Release);
                shared.doomed.store(asked + 1, Ordering::Release);
            }
            data.extend_from_slice(&request.bytes);
        }
        if !delay.send(data, &to).await {
            return;
        }
    }
}

/// Reads what the server says.
async fn replies(shared: &Shared, mut from: ReadHalf<'_>, to: mpsc::Sender<Piece>, mut delay: Delay) {
    let mut replies = Replies::default();
    let mut piece = vec![0; PIECE];
    let mut answered = 0;
    let mut halved = false;
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        replies.push(&piece[..length]);
        let mut data = Vec::new();
        while let Some((kind, bytes)) = replies.next() {
            let doomed = shared.doomed.load(Ordering::Acquire);
            let is_doomed = doomed > 0 && answered + 1 == doomed;
            answered += u64::from(kind == b'Z');
            if is_doomed {
                if shared.by_half.load(Ordering::Acquire) && !halved {
                    halved = true;
                    data.extend_from_slice(&bytes[..bytes.len() / 2]);
                }
                if kind == b'Z' {
                    let _ = to.send(Piece::Data(Instant::now(), data)).await;
                    let _ = to.send(Piece::Cut { hold: shared.holds.load(Ordering::Acquire) }).await;
                    return std::future::pending().await;
                }
            } else if kind == b'A' && shared.link.rules.borrow().deaf {
                shared.link.swallowed.fetch_add(1, Ordering::Relaxed);
            } else {
                data.extend_from_slice(&bytes);
            }
        }
        if !delay.send(data, &to).await {
            return;
        }
    }
}

/// Makes pieces late, without one overtaking another.
struct Delay {
    rules: watch::Receiver<Rules>,
    rng: StdRng,
    last: Instant,
}

impl Delay {
    fn new(link: &Link, rng: &mut StdRng) -> Self {
        Self { rules: link.rules.subscribe(), rng: StdRng::seed_from_u64(rng.random()), last: Instant::now() }
    }

    /// False when nobody takes pieces any more.
    async fn send(&mut self, data: Vec<u8>, to: &mpsc::Sender<Piece>) -> bool {
        if data.is_empty() {
            return true;
        }
        let noise = self.rules.borrow().noise;
        let mut at = Instant::now();
        if let Some(Noise { delay_ms, jitter_ms, lost_percent, stall_ms, resets_per_mille }) = noise {
            at += Duration::from_millis(delay_ms + self.rng.random_range(0..=jitter_ms));
            let mut again = stall_ms;
            while self.rng.random_range(0..100) < lost_percent {
                at += Duration::from_millis(again);
                again *= 2;
            }
            if self.rng.random_range(0..1000) < resets_per_mille {
                let _ = to.send(Piece::Cut { hold: false }).await;
                return std::future::pending().await;
            }
        }
        self.last = self.last.max(at);
        to.send(Piece::Data(self.last, data)).await.is_ok()
    }
}

/// Delivers what arrives. A receiver that is gone takes nothing any more, which its sender does not hear of.
async fn write(shared: &Shared, direction: Direction, mut to: WriteHalf<'_>, mut pieces: mpsc::Receiver<Piece>) -> End {
    let mut rules = shared.link.rules.subscribe();
    let mut is_gone = false;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Data(at, data) => {
                tokio::time::sleep_until(at).await;
                shared.passable(direction, &mut rules).await;
                is_gone = is_gone || deliver(&mut to, &data).await.is_err();
            }
            Piece::Cut { hold } => {
                shared.link.was_cut(hold);
                return End::Reset;
            }
        }
    }
    shared.passable(direction, &mut rules).await;
    End::Closed
}

async fn deliver(to: &mut WriteHalf<'_>, data: &[u8]) -> io::Result<()> {
    to.write_all(data).await?;
    to.flush().await
}

impl Shared {
    /// Waits until nothing holds this direction; for ever, if the connection was silenced.
    async fn passable(&self, direction: Direction, rules: &mut watch::Receiver<Rules>) {
        let is_held = |rules: &Rules| match direction {
            Direction::ToDatabase => rules.holds_to_database(),
            Direction::FromDatabase => rules.holds_from_database(),
        };
        let is_silent = |rules: &Rules| self.listens.load(Ordering::Acquire) && rules.silent_before > self.number;
        // The sender lives as long as the link, which is in our hands.
        let _ = rules.wait_for(|rules| !is_held(rules) && !is_silent(rules)).await;
    }
}
