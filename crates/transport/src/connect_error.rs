//! Why a party has no link to the coordinator.

use cloister_identity::{Fingerprint, ValidityError};
use thiserror::Error;

use crate::address::HostPort;
use crate::route::Route;

/// Why there is no link to the coordinator.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// This machine gave no socket, or nothing can be sent to the address.
    #[error("cannot send to {route} from this machine: {detail}")]
    Socket {
        /// How the server was reached.
        route: Route,
        /// What the system says.
        detail: String,
    },
    /// Nothing came back in time, or connections were refused, on every way that was tried.
    #[error("{target} cannot be reached: {tried}; check the address, that the coordinator runs, and that no firewall \
             blocks its UDP and TCP port {}", target.port())]
    Unreachable {
        /// Where the coordinator should be.
        target: HostPort,
        /// What came of each way.
        tried: String,
    },
    /// The connection ended during the handshake, without a reason.
    #[error(
        "the connection to {route} was cut during the handshake: a firewall or proxy on the way may block TLS that it \
         cannot read, or the coordinator has too many handshakes with this network; ask the network's administrators to \
         let it through unread"
    )]
    CutOff {
        /// How the coordinator was tried.
        route: Route,
    },
    /// The proxy gave no answer.
    #[error(
        "the proxy {proxy} cannot be reached: {detail}; check the proxy's address, and that this network has it"
    )]
    ProxyUnreachable {
        /// Where the proxy should be.
        proxy: HostPort,
        /// What was found.
        detail: String,
    },
    /// The proxy does not connect to the coordinator.
    #[error("the proxy {proxy} does not connect to {target}: it answered `{status}`; {}", proxy_advice(*code))]
    ProxyRefused {
        /// Where the proxy is.
        proxy: HostPort,
        /// Where the coordinator should be.
        target: HostPort,
        /// The status code of HTTP.
        code: u16,
        /// The status line, with control characters escaped.
        status: String,
    },
    /// What answers is no HTTP proxy.
    #[error("{proxy} is no HTTP proxy: it answered {found:?}; check the proxy's address")]
    NotAProxy {
        /// Where the proxy should be.
        proxy: HostPort,
        /// What it sent, or its beginning.
        found: String,
    },
    /// Another server answers at the address. It received nothing from this side.
    #[error(
        "the server at {route} presented certificate {presented}, but the coordinator's pinned one is \
         {expected}; check the address and whether this network inspects TLS, and ask the consortium before you change \
         the pin"
    )]
    WrongCoordinator {
        /// How the server was reached.
        route: Route,
        /// The pinned certificate.
        expected: Fingerprint,
        /// The certificate that the server presented.
        presented: Fingerprint,
    },
    /// A server answers with a copy of the coordinator's certificate, but without its private key.
    #[error(
        "the server at {route} presented the coordinator's certificate without holding its private key: \
         it is an impostor; do not use this network until you know why"
    )]
    KeyNotHeld {
        /// How the server was reached.
        route: Route,
    },
    /// The coordinator's certificate is not valid at this time.
    #[error("the coordinator at {route} cannot be used: {why}")]
    Dates {
        /// How the coordinator was reached.
        route: Route,
        /// What its certificate's dates are.
        why: ValidityError,
    },
    /// The coordinator says that this side's certificate is not valid at this time.
    #[error(
        "the coordinator at {route} rejected this party, because by its clock the certificate {ours} is not within its \
         dates; run `cloister identity show`, check both clocks, and have the consortium list a new identity"
    )]
    RejectedDates {
        /// How the coordinator was reached.
        route: Route,
        /// This side's certificate.
        ours: Fingerprint,
    },
    /// The coordinator's name has no address.
    #[error("the host of {host} is not found: {detail}; check the name and this machine's name resolution")]
    Name {
        /// The host and port that were given.
        host: String,
        /// What the system says.
        detail: String,
    },
    /// The coordinator does not know this side's certificate.
    #[error(
        "the coordinator at {route} rejected this party: its certificate {ours} is not in the \
         coordinator's consortium file; ask the consortium to add it, or load the identity that was \
         enrolled"
    )]
    NotInConsortium {
        /// How the coordinator was reached.
        route: Route,
        /// This side's certificate.
        ours: Fingerprint,
    },
    /// The coordinator knows the certificate, and rejected the link for the reason that it gives.
    #[error("the coordinator at {route} rejected this party: {reason}")]
    Refused {
        /// How the coordinator was reached.
        route: Route,
        /// The coordinator's words, with control characters escaped.
        reason: String,
    },
    /// The server does not speak this protocol.
    #[error(
        "the server at {route} does not speak {protocol}: it runs another version, or is another program"
    )]
    OtherProtocol {
        /// How the server was reached.
        route: Route,
        /// The protocol name (ALPN) that was asked for.
        protocol: &'static str,
    },
    /// The handshake failed in another way.
    #[error("the handshake with {route} failed: {detail}")]
    Handshake {
        /// How the server was reached.
        route: Route,
        /// What failed.
        detail: String,
    },
}

fn proxy_advice(code: u16) -> &'static str {
    match code {
        407 => {
            "give its user and password in a file (--proxy-password-file); it must accept them as Basic (RFC 7617)"
        }
        502..=504 => "check the coordinator's address, and that it runs",
        _ => "ask the network's administrators to allow this connection",
    }
}

impl ConnectError {
    /// Whether nothing of the coordinator answered, so that another try may succeed without anybody's doing.
    pub fn is_network_fault(&self) -> bool {
        match self {
            Self::Socket { .. }
            | Self::Unreachable { .. }
            | Self::CutOff { .. }
            | Self::Name { .. }
            | Self::ProxyUnreachable { .. } => true,
            Self::ProxyRefused { code, .. } => (502..=504).contains(code),
            _ => false,
        }
    }
}
