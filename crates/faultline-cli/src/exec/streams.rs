//! What a command writes, read to the end and kept within bounds: the beginning of its standard output, the end of its
//! standard error.

use faultline_core::limits;
use std::collections::VecDeque;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Bytes of standard error that an error text holds, with room for its first words and the mark of a cut.
const TAIL_BYTES: usize = limits::MAX_ERROR_BYTES - 128;

/// The first bytes of a stream, and how many it had in all.
#[derive(Default)]
pub(super) struct Head {
    kept: Vec<u8>,
    total_bytes: usize,
}

impl Head {
    /// Reads a stream to its end. Dropping the future keeps what was read.
    pub(super) async fn read(&mut self, stream: &mut Option<impl AsyncRead + Unpin>) {
        let Some(stream) = stream else { return };
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            let room = limits::MAX_RESULT_BYTES - self.kept.len();
            self.kept.extend_from_slice(&chunk[..count.min(room)]);
            self.total_bytes += count;
        }
    }

    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    pub(super) fn total_bytes(&self) -> usize {
        self.total_bytes
    }
}

/// The last bytes of a stream.
#[derive(Default)]
pub(super) struct Tail {
    kept: VecDeque<u8>,
    total_bytes: usize,
}

impl Tail {
    /// Reads a stream to its end and passes it on to `log`: our own standard error, where whoever runs the worker expects the
    /// log of its handlers. Dropping the future keeps what was read.
    pub(super) async fn read(&mut self, stream: &mut Option<impl AsyncRead + Unpin>, mut log: impl AsyncWrite + Unpin) {
        let Some(stream) = stream else { return };
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            self.kept.extend(&chunk[..count]);
            self.kept.drain(..self.kept.len().saturating_sub(TAIL_BYTES));
            self.total_bytes += count;
            // A log that is closed must not stop the handler.
            let _ = log.write_all(&chunk[..count]).await;
            let _ = log.flush().await;
        }
    }

    /// An error text: what happened, and the end of what the command said about it.
    pub(super) fn after(&self, what: &str) -> String {
        let bytes: Vec<u8> = self.kept.iter().copied().collect();
        let said = String::from_utf8_lossy(&bytes);
        match (said.trim(), self.total_bytes > self.kept.len()) {
            ("", _) => what.to_owned(),
            (said, false) => format!("{what}: {said}"),
            (said, true) => format!("{what}: [cut] … {said}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_head_keeps_the_beginning_and_counts_the_rest() {
        let input = vec![b'x'; limits::MAX_RESULT_BYTES + 7];
        let mut head = Head::default();
        head.read(&mut Some(&input[..])).await;
        assert_eq!((head.kept().len(), head.total_bytes()), (limits::MAX_RESULT_BYTES, limits::MAX_RESULT_BYTES + 7));
    }

    #[tokio::test]
    async fn the_tail_keeps_the_end_and_fits_into_an_error_text() {
        let mut input = vec![b'\n'; 100_000];
        input.extend_from_slice(&[b'x'; TAIL_BYTES - 9]);
        input.extend_from_slice(b" the end\n");
        let mut tail = Tail::default();
        tail.read(&mut Some(&input[..]), tokio::io::sink()).await;
        let text = tail.after("exit code 1");
        assert!(text.starts_with("exit code 1: [cut] … x") && text.ends_with("x the end"));
        assert!(text.len() <= limits::MAX_ERROR_BYTES);
    }

    #[test]
    fn a_silent_command_leaves_only_its_exit_code() {
        assert_eq!(Tail::default().after("exit code 3"), "exit code 3");
    }
}
