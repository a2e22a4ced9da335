//! Programs that follow a coordinator's events.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, broadcast};
use tokio::time::timeout;
use tracing::Level;

use crate::service::log;

/// How many programs may watch at the same time.
const MOST_WATCHERS: usize = 8;
/// How many lines a watcher may be behind. A round has some for each party.
const MOST_BEHIND: usize = 1024;
/// How long a watcher may take to read what fills its socket.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How long a coordinator that ends waits for watchers to read the last events.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// All watchers of a coordinator. A slow one is dropped, and nothing waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Watchers {
    /// Events as lines. `None` says that no more come: a sender may live on in a request that is being answered.
    lines: broadcast::Sender<Option<Arc<str>>>,
    /// How long a watcher may take to read what fills its socket.
    read_within: Duration,
    /// Read-locked by each watcher for as long as it is written to.
    following: Arc<RwLock<()>>,
}

/// One watcher's end of the events.
#[derive(Debug)]
pub(super) struct WatchedLines {
    lines: broadcast::Receiver<Option<Arc<str>>>,
    read_within: Duration,
    following: Arc<RwLock<()>>,
    _following: OwnedRwLockReadGuard<()>,
}

impl WatchedLines {
    /// Makes a coordinator that ends wait for a moment, until what this returns is dropped; `None` if it is ending already.
    pub(super) fn hold(&self) -> Option<OwnedRwLockReadGuard<()>> {
        self.following.clone().try_read_owned().ok()
    }
}

impl Watchers {
    pub(crate) fn new() -> Self {
        Self::with_limits(MOST_BEHIND, READ_WITHIN)
    }

    fn with_limits(most_behind: usize, read_within: Duration) -> Self {
        Self { lines: broadcast::Sender::new(most_behind), read_within, following: Arc::default() }
    }

    /// Hands an event to all watchers, as the log has it in JSON. This never waits. Frames that came late or twice,
    /// which is normal after a restart, are left out.
    pub(crate) fn publish(&self, level: Level, sentence: &str, fields: &Value) {
        if level <= Level::INFO && self.lines.receiver_count() > 0 {
            // An error says that the last watcher has left.
            let _ = self.lines.send(Some(log::json_line(level, sentence, fields).into()));
        }
    }

    /// The events from now on, for one more watcher.
    pub(super) fn admit(&self) -> Result<WatchedLines, String> {
        match self.lines.receiver_count() {
            MOST_WATCHERS.. => {
                Err(format!("{MOST_WATCHERS} programs watch this coordinator already; end one of them first"))
            }
            _ => Ok(WatchedLines {
                lines: self.lines.subscribe(),
                read_within: self.read_within,
                following: self.following.clone(),
                _following: self
                    .following
                    .clone()
                    .try_read_owned()
                    .map_err(|_| "the coordinator is stopping")?,
            }),
        }
    }

    /// Waits for a moment until all watchers have the last events. What is published from now on reaches none of them.
    pub(crate) async fn finish(self) {
        let Self { lines, following, .. } = self;
        let _ = lines.send(None);
        let _ = timeout(FINISH_WITHIN, following.write()).await;
    }
}

/// Writes events to a watcher until it leaves, or reads too slowly, or the coordinator ends.
pub(super) async fn follow(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    watched: WatchedLines,
) -> io::Result<()> {
    let WatchedLines { mut lines, read_within, _following, .. } = watched;
    let mut nothing = [0];
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            // A watcher writes nothing after its request, so that this is its end.
            _ = reader.read(&mut nothing) => return Ok(()),
        };
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) | Err(RecvError::Closed) => return Ok(()),
            Err(RecvError::Lagged(_)) => {
                let why =
                    format!("this program was more than {MOST_BEHIND} events behind, and is sent no more");
                let line = format!("{}\n", json!({"error": why}));
                return timeout(read_within, writer.write_all(line.as_bytes())).await?;
            }
        };
        timeout(read_within, writer.write_all(format!("{line}\n").as_bytes())).await??;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use tokio::io::{AsyncBufReadExt, BufReader, ReadBuf, duplex, split};

    use super::*;

    fn publish(watchers: &Watchers, party: u32) {
        watchers.publish(Level::INFO, &format!("party {party} announced"), &json!({"party": party}));
    }

    #[tokio::test]
    async fn a_watcher_gets_every_event_from_its_beginning_on() {
        let watchers = Watchers::new();
        publish(&watchers, 1);
        let (end, watcher) = duplex(1 << 16);
        let (reader, writer) = split(end);
        let following = tokio::spawn(follow(reader, writer, watchers.admit().expect("the first")));
        (2..5).for_each(|party| publish(&watchers, party));
        watchers.publish(Level::DEBUG, "late", &json!({"party": 9}));
        drop(watchers);
        let mut lines = BufReader::new(watcher).lines();
        for party in 2..5 {
            let line = lines.next_line().await.expect("open").expect("a line");
            let value: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!((&value["party"], &value["level"]), (&json!(party), &json!("info")));
            assert_eq!(value["message"], format!("party {party} announced"));
        }
        assert_eq!(lines.next_line().await.expect("open"), None, "the coordinator ended");
        following.await.expect("no panic").expect("it wrote all");
    }

    #[tokio::test]
    async fn a_watcher_that_does_not_read_is_dropped_and_publishing_goes_on() {
        let watchers = Watchers::with_limits(4, Duration::from_millis(50));
        // Room for less than one line.
        let (end, watcher) = duplex(8);
        let (reader, writer) = split(end);
        let stuck = tokio::spawn(follow(reader, writer, watchers.admit().expect("the first")));
        publish(&watchers, 1);
        let error = stuck.await.expect("no panic").expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(watcher);
        // One that reads, but is behind.
        let lines = watchers.admit().expect("the stuck one has left");
        (0..9).for_each(|party| publish(&watchers, party));
        let (end, watcher) = duplex(1 << 16);
        let (reader, writer) = split(end);
        follow(reader, writer, lines).await.expect("it is told why");
        let line = BufReader::new(watcher).lines().next_line().await.expect("open").expect("a line");
        assert!(line.contains("events behind"), "{line}");
    }

    #[tokio::test]
    async fn a_coordinator_that_ends_waits_until_watchers_have_its_last_events() {
        let watchers = Watchers::new();
        let (end, mut watcher) = duplex(1 << 16);
        let (reader, writer) = split(end);
        tokio::spawn(follow(reader, writer, watchers.admit().expect("the first")));
        (1..9).for_each(|party| publish(&watchers, party));
        watchers.finish().await;
        // Nothing is awaited from here on, as if the program had ended.
        let mut buffer = vec![0; 1 << 16];
        let mut written = ReadBuf::new(&mut buffer);
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut watcher).poll_read(&mut context, &mut written);
        assert!(read.is_ready(), "something was written");
        assert_eq!(written.filled().iter().filter(|byte| **byte == b'\n').count(), 8);
    }

    #[tokio::test]
    async fn there_are_few_watchers_and_one_that_leaves_makes_room() {
        let watchers = Watchers::new();
        let mut admitted: Vec<_> = (0..MOST_WATCHERS).map(|_| watchers.admit().expect("room")).collect();
        assert!(watchers.admit().expect_err("no room").contains("end one of them"));
        let (end, watcher) = duplex(8);
        let (reader, writer) = split(end);
        let following = tokio::spawn(follow(reader, writer, admitted.pop().expect("some")));
        drop(watcher);
        following.await.expect("no panic").expect("it left in good order");
        assert!(watchers.admit().is_ok());
    }
}
