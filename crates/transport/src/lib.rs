//! Frames over QUIC, or TLS over TCP, between a coordinator and the parties of a consortium.
//!
//! A party [`connect`]s to the coordinator's [`Listener`]. Both sides then hold a [`Link`]: one long-lived
//! stream of frames in each direction, with back-pressure.
//!
//! # Carriers
//! A [`Listener`] has UDP and TCP at the same port number. A party tries QUIC, and TLS over TCP where QUIC gets no answer
//! within two seconds, as behind firewalls without UDP. Through an HTTP [`Proxy`] it uses TCP. Each time that it connects
//! it tries QUIC first. A link over TCP behaves as one over QUIC: signs of life, back-pressure, acknowledged closing, and
//! reasons that get through at once (`WIRE-07`, `WIRE-08`). Only a link over QUIC survives a change of a party's address.
//!
//!//! # What it is not
//! This crate does not know rounds or messages. A frame is a sequence of bytes; `cloister_wire` gives it a
//! meaning. A link that ends is not restored here: the party connects again, and the protocol sends again
//! what is missing.
//!
//! # Trust
//! Both sides authenticate by TLS 1.3, with the protocol name `cloister/1`. A certificate is trusted if its
//! SHA-256 [`Fingerprint`] is pinned (in the [`Roster`] at the coordinator, by the consortium file at the
//! party), today is within its dates, **and** the peer signs the handshake with the certificate's key. Names in
//! certificates prove nothing and are not read. Sessions are never resumed, so that the certificate is checked for every
//! link. TLS protects frames from everyone but the coordinator; what the coordinator must not read is masked
//! or sealed before it gets here.
//!
//! # Probes
//! [`probe`] asks the coordinator for its time, version and edition over each way that leads to it. A probe has a protocol
//! name of its own, `cloister-probe/1`, so that it is never a link, and replaces none (`WIRE-09`).
//!
//! # Enrolment
//! [`hand_in`] gives an enrolment request to a coordinator that does not know the party yet, and
//! [`Listener::serve_enrolments`] is where such requests come. They have the protocol name `cloister-enrolment/1`: any
//! certificate is admitted whose key the peer holds, for one request and one answer, and never for a link (`WIRE-10`).
//!
//! # Operators
//! An [`OperatorListener`] accepts programs of operators over TLS 1.3 at a port of its own. They have no certificate; what
//! they may do is decided by others. [`dial_coordinator`] is their end, which pins the coordinator's certificate (`CTRL-01`).
//!
//! # Limits
//! A frame has at most [`MAX_FRAME`] bytes, and memory for it grows only with the bytes that have arrived. A
//! link buffers at most 8 MiB in each direction. Only a limited number of peers from one source may shake
//! hands at a time, and each has a short time to show a certificate of the roster (`WIRE-05`). Texts that a
//! peer sends are printed with control characters escaped.
//!
//! # Leakage
//! Everyone on the network sees addresses, the coordinator's host name, and the sizes and times of packets. An HTTP proxy
//! sees the same. Who can reset a TCP connection can end a link over TCP, which the party then makes again.
//!
//! # Example
//! Two ends on one machine:
//!
//! ```
//! use cloister_params::id::PartyId;
//! use cloister_transport::{Identity, Listener, Roster, TransportSettings, Validity, connect};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let coordinator = Identity::generate("coordinator", Validity::unlimited())?;
//! let hospital = Identity::generate("hospital 1", Validity::unlimited())?;
//! let settings = TransportSettings::default();
//!
//! // The coordinator pins the certificates of all parties; a party pins that of the coordinator.
//! let roster = Roster::new([(hospital.fingerprint(), PartyId(1))])?;
//! let mut listener = Listener::bind(([127, 0, 0, 1], 0).into(), &coordinator, roster, &settings)?;
//! let address = listener.local_address()?;
//! let connecting = connect(address, &hospital, coordinator.fingerprint(), PartyId(1), &settings);
//! let (accepted, connected) = tokio::join!(listener.accept(), connecting);
//! let (at_coordinator, at_hospital) = (accepted?, connected?);
//! assert_eq!(at_coordinator.peer(), PartyId(1));
//!
//! let (_to_hospital, mut receiver) = at_coordinator.split();
//! let (mut sender, _from_coordinator) = at_hospital.split();
//! sender.send(b"a frame").await?;
//! assert_eq!(receiver.recv().await?.as_deref(), Some(&b"a frame"[..]));
//!
//! // Closing waits until the other side has received everything.
//! let (closed, end) = tokio::join!(sender.close("the round has ended"), receiver.recv());
//! closed?;
//! assert_eq!(end?, None);
//! assert_eq!(receiver.closing_reason(), Some("the round has ended"));
//! # Ok(())
//! # }
//! ```

// This crate does IO: it uses the system's clock and randomness.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod address;
mod carrier;
mod connect;
mod connect_error;
mod connection;
mod counters;
mod doorway;
mod enrolling;
mod exchange;
mod frame;
mod greeting;
mod link;
mod link_error;
mod listener;
mod listener_error;
mod loss;
mod operator;
mod pinning;
mod probe_answer;
mod proxy;
mod purpose;
mod reception;
mod roster;
mod route;
mod settings;
mod socket;
mod stop;
mod tcp;
mod uplink;

pub use cloister_identity::{Fingerprint, FingerprintError, Identity, IdentityError, Validity};

pub use address::{HostPort, HostPortError};
pub use carrier::Carrier;
pub use connect::{ProbeAttempt, ProbeReport, connect, connect_for_models, hand_in, probe};
pub use connect_error::ConnectError;
pub use counters::LinkCounters;
pub use doorway::PeerSource;
pub use enrolling::EnrolmentVisit;
pub use frame::MAX_FRAME;
pub use link::{FrameReceiver, FrameSender, Link, LinkHandle};
pub use link_error::{LinkError, commands_terminals, printable};
pub use listener::{Listener, check_port};
pub use listener_error::{AcceptError, BindError};
pub use operator::{OperatorListener, OperatorStream, dial_coordinator};
pub use probe_answer::{ProbeAnswer, ProgramVersion};
pub use proxy::{Proxy, ProxyPassword, ProxyPasswordError};
pub use roster::{Roster, RosterError};
pub use route::Route;
pub use settings::{Carriers, TransportSettings};
pub use stop::{StopSignal, StopSwitch};
