//! Links for models, which never become links for rounds.

#![allow(clippy::disallowed_methods)]

mod common;

use cloister_params::id::PartyId;
use cloister_transport::{Carrier, ConnectError, Identity, Link, connect_for_models};
use common::{Consortium, FIRST, SECOND, identity, over_both_carriers};

impl Consortium {
    async fn for_models(
        &self,
        address: std::net::SocketAddr,
        identity: &Identity,
        party: PartyId,
    ) -> Result<Link, ConnectError> {
        connect_for_models(address, identity, self.coordinator.fingerprint(), party, &self.settings).await
    }
}

/// WIRE-11
async fn a_link_for_models_leaves_the_partys_link_as_it_is(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let mut models = listener.serve_models();
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, FIRST));
    let (at_coordinator, at_party): (Link, Link) = (accepted.expect("a party"), connected.expect("let in"));
    let opening =
        async { tokio::join!(models.recv(), consortium.for_models(address, &consortium.first, FIRST)) };
    let (served, opened) = tokio::select! {
        opened = opening => opened,
        accepted = listener.accept() => panic!("{accepted:?}"),
    };
    let (served, opened) = (served.expect("it comes here"), opened.expect("a party may ask"));
    assert_eq!(served.peer(), FIRST);
    for (from, to) in [(opened, served), (at_party, at_coordinator)] {
        let (mut sender, _from) = from.split();
        let (_to, mut receiver) = to.split();
        let (sent, received) = tokio::join!(sender.send(b"a frame"), receiver.recv());
        assert_eq!((sent, received), (Ok(()), Ok(Some(b"a frame".to_vec()))));
    }
}

/// WIRE-11
async fn nobody_but_a_party_may_ask_for_models(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let asks = |identity: Identity, party| {
        let consortium = &consortium;
        async move { consortium.for_models(address, &identity, party).await }
    };
    let (_, without) = tokio::join!(listener.accept(), asks(consortium.first.clone(), FIRST));
    assert!(
        matches!(without, Err(ConnectError::OtherProtocol { protocol: "cloister-model/1", .. })),
        "a coordinator that serves no models: {without:?}"
    );
    let mut models = listener.serve_models();
    let (_, stranger) = tokio::join!(listener.accept(), asks(identity("stranger"), FIRST));
    assert!(matches!(stranger, Err(ConnectError::NotInConsortium { .. })), "{stranger:?}");
    let (_, another) = tokio::join!(listener.accept(), asks(consortium.first.clone(), SECOND));
    assert!(matches!(another, Err(ConnectError::Refused { .. })), "{another:?}");
    assert!(models.try_recv().is_err());
    let served = async {
        tokio::select! {
            link = models.recv() => link,
            accepted = listener.accept() => panic!("{accepted:?}"),
        }
    };
    let (served, asked) = tokio::join!(served, asks(consortium.second.clone(), SECOND));
    assert!(asked.is_ok(), "control: {asked:?}");
    assert_eq!(served.map(|link| link.peer()), Some(SECOND));
}

over_both_carriers! {
    /// WIRE-11
    a_link_for_models_leaves_the_partys_link_as_it_is,
    /// WIRE-11
    nobody_but_a_party_may_ask_for_models,
}
