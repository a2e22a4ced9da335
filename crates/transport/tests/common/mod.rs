//! A consortium in miniature: a coordinator, two enrolled parties, and peers that break the rules.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test file uses its own part of this")]

pub(crate) mod raw;

use std::net::SocketAddr;
use std::time::Duration;

use cloister_params::id::PartyId;
use cloister_transport::{
    AcceptError, Carrier, Carriers, ConnectError, Identity, Link, Listener, Roster, TransportSettings,
    Validity, connect,
};

pub(crate) const FIRST: PartyId = PartyId(1);
pub(crate) const SECOND: PartyId = PartyId(2);

pub(crate) struct Consortium {
    pub(crate) coordinator: Identity,
    pub(crate) first: Identity,
    pub(crate) second: Identity,
    pub(crate) settings: TransportSettings,
}

impl Consortium {
    pub(crate) fn new() -> Self {
        Self {
            coordinator: identity("coordinator"),
            first: identity("first"),
            second: identity("second"),
            settings: TransportSettings::default(),
        }
    }

    /// A consortium whose links go over one carrier.
    pub(crate) fn over(carrier: Carrier) -> Self {
        Self { settings: settings_over(carrier), ..Self::new() }
    }

    pub(crate) fn with_idle_timeout(carrier: Carrier, idle_timeout: Duration) -> Self {
        let settings = TransportSettings { idle_timeout, ..settings_over(carrier) };
        Self { settings, ..Self::new() }
    }

    pub(crate) fn listen(&self) -> (Listener, SocketAddr) {
        let pins = [(self.first.fingerprint(), FIRST), (self.second.fingerprint(), SECOND)];
        let roster = Roster::new(pins).expect("two parties");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, &self.coordinator, roster, &self.settings).expect("a free port");
        let address = listener.local_address().expect("bound");
        (listener, address)
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        identity: &Identity,
        party: PartyId,
    ) -> Result<Link, ConnectError> {
        connect(address, identity, self.coordinator.fingerprint(), party, &self.settings).await
    }

    /// The coordinator's link and the first party's, to each other.
    pub(crate) async fn link(&self) -> (Link, Link) {
        let (mut listener, address) = self.listen();
        let (at_coordinator, at_party) =
            tokio::join!(listener.accept(), self.connect(address, &self.first, FIRST));
        (at_coordinator.expect("an enrolled party"), at_party.expect("the pinned coordinator"))
    }
}

pub(crate) fn settings_over(carrier: Carrier) -> TransportSettings {
    let carriers = match carrier {
        Carrier::Quic => Carriers::Quic,
        Carrier::Tcp => Carriers::Tcp,
    };
    TransportSettings { carriers, ..TransportSettings::default() }
}

/// Runs each of these tests, which are functions of a carrier, over both.
macro_rules! over_both_carriers {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        mod over_quic {
            $($(#[$attribute])* #[tokio::test]
            async fn $name() {
                super::$name(cloister_transport::Carrier::Quic).await
            })*
        }
        mod over_tcp {
            $($(#[$attribute])* #[tokio::test]
            async fn $name() {
                super::$name(cloister_transport::Carrier::Tcp).await
            })*
        }
    };
}
pub(crate) use over_both_carriers;

pub(crate) fn identity(name: &str) -> Identity {
    Identity::generate(name, Validity::unlimited()).expect("randomness")
}

pub(crate) fn refusal(outcome: Result<Link, AcceptError>) -> AcceptError {
    outcome.map(|link| link.peer()).expect_err("the peer is to be refused")
}

pub(crate) fn failure(outcome: Result<Link, ConnectError>) -> ConnectError {
    outcome.map(|link| link.peer()).expect_err("connecting is to fail")
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}
