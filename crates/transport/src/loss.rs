//! Why a connection has ended, in terms that QUIC and TLS over TCP share.

use std::io;

use quinn::{ConnectionError, ReadError, StoppedError, WriteError};
use rustls::{AlertDescription, Error};

/// Why a connection has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// Nothing came for the whole idle timeout, or the peer does not know the connection any more.
    Silent,
    /// TCP ended without a `close` record: the peer's program ended, or something on the way cut the connection.
    Cut,
    /// This side closed it.
    ClosedHere,
    /// The peer closed it.
    ClosedByPeer {
        /// One of the codes in `link_error`.
        code: u64,
        /// The peer's words, as they came.
        reason: Vec<u8>,
    },
    /// This side ended the handshake with a TLS alert.
    AlertHere(AlertDescription, String),
    /// The peer ended the handshake with a TLS alert.
    AlertByPeer(AlertDescription, String),
    /// The peer speaks neither this version of QUIC nor TLS 1.3.
    OtherProtocol(String),
    /// Anything else, in words.
    Fault(String),
}

/// Why a stream of a connection cannot be used.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum StreamFault {
    /// The peer does not use its half any more.
    Dropped,
    /// The connection has ended.
    Lost(Loss),
    /// Anything else, in words.
    Other(String),
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent => f.write_str("timed out"),
            Self::Cut => f.write_str("the connection was cut without a reason"),
            Self::ClosedHere => f.write_str("closed"),
            Self::ClosedByPeer { code, reason } => {
                write!(f, "closed by peer: {} (code {code})", String::from_utf8_lossy(reason))
            }
            Self::AlertHere(_, detail)
            | Self::AlertByPeer(_, detail)
            | Self::OtherProtocol(detail)
            | Self::Fault(detail) => f.write_str(detail),
        }
    }
}

impl From<ConnectionError> for Loss {
    fn from(error: ConnectionError) -> Self {
        let detail = error.to_string();
        match error {
            // A reset comes from a peer that does not know the connection any more.
            ConnectionError::TimedOut | ConnectionError::Reset => Self::Silent,
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::ApplicationClosed(close) => {
                Self::ClosedByPeer { code: close.error_code.into_inner(), reason: close.reason.to_vec() }
            }
            ConnectionError::VersionMismatch => Self::OtherProtocol(detail),
            ConnectionError::TransportError(error) => match alert(error.code.into()) {
                Some(alert) => Self::AlertHere(alert, detail),
                None => Self::Fault(detail),
            },
            ConnectionError::ConnectionClosed(close) => match alert(close.error_code.into()) {
                Some(alert) => Self::AlertByPeer(alert, detail),
                None => Self::Fault(detail),
            },
            _ => Self::Fault(detail),
        }
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
            return error.into();
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::Cut,
            io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Fault(error.to_string()),
        }
    }
}

impl From<&Error> for Loss {
    fn from(error: &Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::AlertReceived(alert) => Self::AlertByPeer(*alert, detail),
            // The alerts that rustls sends with these errors.
            Error::InvalidCertificate(fault) => Self::AlertHere(fault.clone().into(), detail),
            Error::NoCertificatesPresented => Self::AlertHere(AlertDescription::CertificateRequired, detail),
            Error::NoApplicationProtocol => Self::AlertHere(AlertDescription::NoApplicationProtocol, detail),
            Error::InvalidMessage(_) | Error::PeerIncompatible(_) => Self::OtherProtocol(detail),
            _ => Self::Fault(detail),
        }
    }
}

/// The TLS alert in a QUIC error code: QUIC reserves the codes 0x100 to 0x1ff for alerts (RFC 9001, section
/// 4.8).
fn alert(code: u64) -> Option<AlertDescription> {
    let alert = u8::try_from(code.checked_sub(0x100)?).ok()?;
    Some(AlertDescription::from(alert))
}

impl From<Loss> for StreamFault {
    fn from(loss: Loss) -> Self {
        Self::Lost(loss)
    }
}

impl From<ConnectionError> for StreamFault {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(error.into())
    }
}

impl From<WriteError> for StreamFault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(_) => Self::Dropped,
            WriteError::ConnectionLost(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<StoppedError> for StreamFault {
    fn from(error: StoppedError) -> Self {
        WriteError::from(error).into()
    }
}

impl From<ReadError> for StreamFault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(_) => Self::Dropped,
            ReadError::ConnectionLost(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}
