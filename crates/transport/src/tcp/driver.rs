//! The task of a link over TCP: it reads and writes records.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsStream;

use super::Shared;
use super::record::{MOST_DATA, Record, RecordFault};
use crate::link_error::ABORTED;
use crate::loss::Loss;
use crate::settings::{TransportSettings, keep_alive_interval, milliseconds};

/// How many bytes are read or written at once.
const BATCH: usize = 4 * MOST_DATA;

/// How long a side that ends a link goes on, so that the peer reads why. An end without it could reach the peer as a
/// reset, which discards what was sent before.
const LINGER: Duration = Duration::from_secs(2);

/// The task's state.
pub(super) struct Driver {
    read: ReadHalf<TlsStream<TcpStream>>,
    write: WriteHalf<TlsStream<TcpStream>>,
    shared: Arc<Shared>,
    /// The shorter one of both sides' idle timeouts, as far as it is known.
    idle_timeout: Duration,
    /// Whether the peer's first record has come.
    is_open: bool,
    arrived: BytesMut,
    outgoing: BytesMut,
    /// Whether TLS or TCP may still have some of what was written.
    is_unflushed: bool,
    /// Whether writing has failed. What the peer sent before it went, its reason among it, is still read.
    is_mute: bool,
    heard: Instant,
    spoken: Instant,
}

impl Driver {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        shared: Arc<Shared>,
        settings: &TransportSettings,
    ) -> Self {
        let (read, write) = tokio::io::split(stream);
        let mut outgoing = BytesMut::new();
        Record::Open(milliseconds(settings.idle_timeout)).encode(&mut outgoing);
        let now = Instant::now();
        Self {
            read,
            write,
            shared,
            idle_timeout: settings.idle_timeout.max(Duration::from_millis(1)),
            is_open: false,
            arrived: BytesMut::new(),
            outgoing,
            is_unflushed: false,
            is_mute: false,
            heard: now,
            spoken: now,
        }
    }

    /// Reads and writes until the link has ended.
    pub(super) async fn run(mut self) {
        let loss = self.carry().await;
        self.shared.state().lose(loss.clone());
        self.shared.announce_end(loss);
        let closing = { self.shared.state().closing_record() };
        if let Some(record) = closing {
            record.encode(&mut self.outgoing);
            let _ = timeout(LINGER, self.say_why()).await;
        }
    }

    async fn carry(&mut self) -> Loss {
        loop {
            let closing = { self.shared.state().closing_record() };
            if closing.is_some() {
                return Loss::ClosedHere;
            }
            // Only then: what a peer that does not read makes this side send would grow without a bound.
            if self.outgoing.is_empty() {
                self.shared.state().write_records(BATCH, &mut self.outgoing);
                self.shared.writable.notify_one();
            }
            self.arrived.reserve(BATCH);
            let can_write = !self.is_mute && (self.is_unflushed || !self.outgoing.is_empty());
            tokio::select! {
                read = self.read.read_buf(&mut self.arrived) => match read {
                    Ok(0) => return Loss::Cut,
                    Ok(_) => {
                        self.heard = Instant::now();
                        if let Err(loss) = self.take_records() {
                            return loss;
                        }
                    }
                    Err(error) => return error.into(),
                },
                written = write_some(&mut self.write, &mut self.outgoing), if can_write => match written {
                    Ok(is_flushed) => {
                        self.is_unflushed = !is_flushed;
                        if is_flushed {
                            self.shared.state().note_flushed();
                            self.shared.readable.notify_one();
                        }
                        self.spoken = Instant::now();
                    }
                    Err(_) => self.is_mute = true,
                },
                () = self.shared.work.notified() => {}
                // WIRE-08
                () = sleep_until(self.heard + self.idle_timeout) => return Loss::Silent,
                // WIRE-08
                () = sleep_until(self.spoken + keep_alive_interval(self.idle_timeout)) => {
                    // What waits to be written is a sign of life too, once it gets through.
                    if self.outgoing.is_empty() {
                        Record::Heartbeat.encode(&mut self.outgoing);
                    }
                    self.spoken = Instant::now();
                }
            }
        }
    }

    /// Acts on all records that are complete. The error is why the link ends with one of them.
    fn take_records(&mut self) -> Result<(), Loss> {
        loop {
            let taken = Record::decode(&mut self.arrived).and_then(|record| match record {
                None => Ok(Taken::All),
                Some(record) => self.take(record),
            });
            match taken {
                Ok(Taken::Record) => {}
                Ok(Taken::All) => break,
                Ok(Taken::Close(loss)) => return Err(loss),
                Err(fault) => {
                    let loss = Loss::Fault(fault.to_string());
                    self.shared.state().close(ABORTED, fault.to_string().as_bytes(), loss.clone());
                    return Err(loss);
                }
            }
        }
        self.shared.readable.notify_one();
        self.shared.writable.notify_one();
        Ok(())
    }

    fn take(&mut self, record: Record) -> Result<Taken, RecordFault> {
        match record {
            Record::Open(peers_timeout) if !self.is_open => {
                self.is_open = true;
                let peers_timeout = Duration::from_millis(u64::from(peers_timeout.max(1)));
                self.idle_timeout = self.idle_timeout.min(peers_timeout);
            }
            Record::Close { code, reason } if self.is_open => {
                return Ok(Taken::Close(Loss::ClosedByPeer { code: code.into(), reason }));
            }
            record if self.is_open => self.shared.state().receive(record)?,
            _ => return Err(RecordFault("another record before the opening".to_owned())),
        }
        Ok(Taken::Record)
    }

    /// Sends what is still queued and the last record, and waits until the peer has hung up.
    async fn say_why(&mut self) -> io::Result<()> {
        self.write.write_all_buf(&mut self.outgoing).await?;
        self.write.shutdown().await?;
        loop {
            self.arrived.clear();
            self.arrived.reserve(BATCH);
            if self.read.read_buf(&mut self.arrived).await? == 0 {
                return Ok(());
            }
        }
    }
}

/// What came of the bytes that have arrived.
enum Taken {
    /// A record.
    Record,
    /// No record is complete any more.
    All,
    /// The peer's last record.
    Close(Loss),
}

/// Writes some of these bytes, or flushes if there are none; returns whether everything is flushed. It is safe to
/// cancel.
async fn write_some(
    write: &mut WriteHalf<TlsStream<TcpStream>>,
    outgoing: &mut BytesMut,
) -> io::Result<bool> {
    if outgoing.is_empty() {
        write.flush().await?;
        return Ok(true);
    }
    write.write_buf(outgoing).await?;
    Ok(false)
}
