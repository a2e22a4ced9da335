//! An open connection, over QUIC or over TLS and TCP.

use std::net::SocketAddr;

use bytes::Bytes;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::carrier::Carrier;
use crate::loss::{Loss, StreamFault};
use crate::purpose::ConnectionPurpose;
use crate::settings::{TransportSettings, WINDOW};
use crate::tcp::{self, TcpConnection, TcpReceiveHalf, TcpSendHalf};

/// An open connection. Clones stand for the same one.
#[derive(Clone)]
pub(crate) enum Connection {
    Quic(quinn::Connection),
    Tcp(TcpConnection),
}

impl Connection {
    pub(crate) fn carrier(&self) -> Carrier {
        match self {
            Self::Quic(_) => Carrier::Quic,
            Self::Tcp(_) => Carrier::Tcp,
        }
    }

    /// The peer's address, or that of the proxy in between.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Quic(connection) => connection.remote_address(),
            Self::Tcp(connection) => connection.address(),
        }
    }

    /// Ends the connection at once, in both directions, with one of the codes in `link_error`.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        match self {
            Self::Quic(connection) => connection.close(VarInt::from_u32(code), reason.as_bytes()),
            Self::Tcp(connection) => connection.close(code, reason),
        }
    }

    /// Lets the peer have as much in flight as a party may. Over TCP it may from the beginning, as its purpose is known
    /// before.
    pub(crate) fn widen(&self) {
        if let Self::Quic(connection) = self {
            connection.set_receive_window(VarInt::from_u32(WINDOW));
        }
    }

    /// Waits until the connection has ended.
    pub(crate) async fn closed(&self) -> Loss {
        match self {
            Self::Quic(connection) => connection.closed().await.into(),
            Self::Tcp(connection) => connection.closed().await,
        }
    }
}

/// The half that sends.
#[derive(Debug)]
pub(crate) enum SendHalf {
    Quic(SendStream),
    Tcp(TcpSendHalf),
}

impl SendHalf {
    /// Hands all of these bytes over for sending. It is not safe to cancel.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), StreamFault> {
        match self {
            Self::Quic(stream) => Ok(stream.write_all(bytes).await?),
            Self::Tcp(half) => half.write_all(bytes).await,
        }
    }

    /// Nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        match self {
            // It fails only if the peer has stopped the stream, which `acknowledged` reports.
            Self::Quic(stream) => drop(stream.finish()),
            Self::Tcp(half) => half.finish(),
        }
    }

    /// Waits until the peer has everything, after [`SendHalf::finish`].
    pub(crate) async fn acknowledged(&self) -> Result<(), StreamFault> {
        match self {
            Self::Quic(stream) => match stream.stopped().await? {
                None => Ok(()),
                Some(_) => Err(StreamFault::Dropped),
            },
            Self::Tcp(half) => half.acknowledged().await,
        }
    }
}

/// The half that receives.
#[derive(Debug)]
pub(crate) enum ReceiveHalf {
    Quic(RecvStream),
    Tcp(TcpReceiveHalf),
}

impl ReceiveHalf {
    /// The next bytes, at most so many; empty at the end of the stream. It is safe to cancel.
    pub(crate) async fn read(&mut self, most: usize) -> Result<Bytes, StreamFault> {
        match self {
            Self::Quic(stream) => {
                // Not `read_exact`, which loses bytes if it is cancelled.
                let chunk = stream.read_chunk(most, true).await?;
                Ok(chunk.map_or_else(Bytes::new, |chunk| chunk.bytes))
            }
            Self::Tcp(half) => half.read(most).await.map(Bytes::from),
        }
    }
}

/// A connection with its stream of frames in each direction.
pub(crate) struct LinkStreams {
    pub(crate) connection: Connection,
    pub(crate) send: SendHalf,
    pub(crate) receive: ReceiveHalf,
}

impl LinkStreams {
    fn quic(connection: quinn::Connection, send: SendStream, receive: RecvStream) -> Self {
        Self {
            connection: Connection::Quic(connection),
            send: SendHalf::Quic(send),
            receive: ReceiveHalf::Quic(receive),
        }
    }

    /// The streams of a TCP connection, whose TLS handshake is done.
    pub(crate) fn tcp(
        stream: TlsStream<TcpStream>,
        address: SocketAddr,
        purpose: ConnectionPurpose,
        settings: &TransportSettings,
    ) -> Self {
        let (connection, send, receive) = tcp::start(stream, address, purpose.window(), settings);
        Self {
            connection: Connection::Tcp(connection),
            send: SendHalf::Tcp(send),
            receive: ReceiveHalf::Tcp(receive),
        }
    }
}

/// A connection whose TLS handshake is done.
pub(crate) enum Established {
    Quic(quinn::Connection),
    Tcp(LinkStreams),
}

impl Established {
    /// The streams, which the party opens.
    pub(crate) async fn open(self) -> Result<LinkStreams, Loss> {
        match self {
            Self::Quic(connection) => {
                let (send, receive) = connection.open_bi().await?;
                Ok(LinkStreams::quic(connection, send, receive))
            }
            Self::Tcp(streams) => Ok(streams),
        }
    }

    /// Ends the connection at once, with one of the codes in `link_error`.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        match self {
            Self::Quic(connection) => Connection::Quic(connection.clone()).close(code, reason),
            Self::Tcp(streams) => streams.connection.close(code, reason),
        }
    }

    /// The streams, for which the coordinator waits.
    pub(crate) async fn accept(self) -> Result<LinkStreams, Loss> {
        match self {
            Self::Quic(connection) => {
                let (send, receive) = connection.accept_bi().await?;
                Ok(LinkStreams::quic(connection, send, receive))
            }
            Self::Tcp(streams) => Ok(streams),
        }
    }
}
