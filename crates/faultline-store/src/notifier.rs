//! Hints to listening workers that a queue has work: sent outside of any enqueuing transaction, at most one each
//! [`QUIET`] and queue, the last one never swallowed. Losing one costs a worker's next look, up to a second.

use crate::{Database, enqueue};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;

/// The pause after a round of hints, in which further ones gather: a notifying transaction takes a cluster-wide lock.
const QUIET: Duration = Duration::from_millis(5);
/// Hints that wait at most; more say nothing new.
const MAX_WAITING: usize = 1024;

/// Sends hints in the background until it is dropped.
#[derive(Clone, Debug)]
pub struct Notifier {
    sender: mpsc::Sender<String>,
}

impl Notifier {
    /// Starts the background task. Must be called inside a tokio runtime.
    pub fn start(database: Database) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        tokio::spawn(send(database, receiver));
        Self { sender }
    }

    /// Says that a queue has work; returns at once.
    pub fn hint(&self, queue: &str) {
        // A full channel already holds hints that wake everybody.
        let _ = self.sender.try_send(queue.to_owned());
    }
}

async fn send(database: Database, mut receiver: mpsc::Receiver<String>) {
    while let Some(first) = receiver.recv().await {
        let mut queues = BTreeSet::from([first]);
        while let Ok(queue) = receiver.try_recv() {
            queues.insert(queue);
        }
        let sent = database
            .run(async |client| {
                for queue in &queues {
                    enqueue::notify(client, queue).await?;
                }
                Ok(())
            })
            .await;
        if let Err(error) = sent {
            tracing::debug!(%error, "a hint was not sent; workers find the work by looking");
        }
        tokio::time::sleep(QUIET).await;
    }
}
