//! A link over TLS 1.3 and TCP, with what QUIC has itself: signs of life, credits, acknowledged ends, and reasons that
//! get through at any time (`WIRE-07`, `WIRE-08`).
//!
//! A task of the link reads all that the peer sends, whether or not the program reads frames. So a sign of life and a
//! reason for closing never wait behind frames. Memory stays bounded, because the peer sends frames only as far as it
//! has credits.

mod driver;
mod record;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsStream;

use crate::frame::MAX_REASON;
use crate::link_error::DROPPED;
use crate::loss::{Loss, StreamFault};
use crate::settings::TransportSettings;
use driver::Driver;
use state::State;

/// What the link's task shares with the halves and handles of the link.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// For the task: there is something to send.
    work: Notify,
    /// For the sender: there is room, or an acknowledgement.
    writable: Notify,
    /// For the receiver: bytes have arrived.
    readable: Notify,
    /// Why the link has ended.
    end: watch::Sender<Option<Loss>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lock")
    }

    /// Wakes everybody after the link has ended.
    fn announce_end(&self, loss: Loss) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert(loss);
            is_first
        });
        self.writable.notify_one();
        self.readable.notify_one();
        self.work.notify_one();
    }

    fn close(&self, code: u32, reason: &[u8]) {
        self.state().close(code, reason, Loss::ClosedHere);
        self.announce_end(Loss::ClosedHere);
    }
}

/// Closes the link when the last half and the last handle are dropped, as QUIC does.
#[derive(Debug)]
struct CloseWhenDropped(Arc<Shared>);

impl Drop for CloseWhenDropped {
    fn drop(&mut self) {
        self.0.close(DROPPED, b"");
    }
}

/// A link. Clones stand for the same one.
#[derive(Clone, Debug)]
pub(crate) struct TcpConnection {
    shared: Arc<CloseWhenDropped>,
    address: SocketAddr,
}

/// The half that sends.
#[derive(Debug)]
pub(crate) struct TcpSendHalf {
    connection: TcpConnection,
}

/// The half that receives.
#[derive(Debug)]
pub(crate) struct TcpReceiveHalf {
    connection: TcpConnection,
}

/// Starts the link's task on a stream whose TLS handshake is done. Each side starts with credits for `window` bytes.
pub(crate) fn start(
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    window: u32,
    settings: &TransportSettings,
) -> (TcpConnection, TcpSendHalf, TcpReceiveHalf) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State::new(window)),
        work: Notify::new(),
        writable: Notify::new(),
        readable: Notify::new(),
        end: watch::Sender::new(None),
    });
    tokio::spawn(Driver::new(stream, shared.clone(), settings).run());
    let connection = TcpConnection { shared: Arc::new(CloseWhenDropped(shared)), address };
    let send = TcpSendHalf { connection: connection.clone() };
    let receive = TcpReceiveHalf { connection: connection.clone() };
    (connection, send, receive)
}

impl TcpConnection {
    fn shared(&self) -> &Shared {
        &self.shared.0
    }

    /// The peer's address, or that of the proxy in between.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the link at once, in both directions.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        let reason = &reason.as_bytes()[..reason.floor_char_boundary(MAX_REASON)];
        self.shared().close(code, reason);
    }

    /// Waits until the link has ended.
    pub(crate) async fn closed(&self) -> Loss {
        let mut end = self.shared().end.subscribe();
        let loss = end.wait_for(Option::is_some).await.expect("the sender lives as long as this");
        loss.clone().unwrap_or(Loss::Cut)
    }
}

impl TcpSendHalf {
    /// Queues all of these bytes, and waits for room where there is none.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), StreamFault> {
        let shared = self.connection.shared();
        while !bytes.is_empty() {
            let taken = shared.state().send(bytes)?;
            bytes = &bytes[taken..];
            match taken {
                0 => shared.writable.notified().await,
                _ => shared.work.notify_one(),
            }
        }
        Ok(())
    }

    /// Nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.connection.shared().state().finish();
        self.connection.shared().work.notify_one();
    }

    /// Waits until the peer has everything, after [`TcpSendHalf::finish`].
    pub(crate) async fn acknowledged(&self) -> Result<(), StreamFault> {
        let shared = self.connection.shared();
        // Bound before the wait, because a temporary would hold the lock through it.
        while !{ shared.state().is_acknowledged() }? {
            shared.writable.notified().await;
        }
        Ok(())
    }
}

impl Drop for TcpSendHalf {
    fn drop(&mut self) {
        self.finish();
    }
}

impl TcpReceiveHalf {
    /// The next bytes, at most so many; empty at the end of the stream. It is safe to cancel.
    pub(crate) async fn read(&mut self, most: usize) -> Result<Vec<u8>, StreamFault> {
        let shared = self.connection.shared();
        loop {
            let arrived = shared.state().read(most)?;
            match arrived {
                Some(bytes) => {
                    // The peer may have to get credits.
                    shared.work.notify_one();
                    return Ok(bytes);
                }
                None => shared.readable.notified().await,
            }
        }
    }
}

impl Drop for TcpReceiveHalf {
    fn drop(&mut self) {
        self.connection.shared().state().stop();
        self.connection.shared().work.notify_one();
    }
}
