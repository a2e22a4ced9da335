//! What a peer wants of a coordinator, by the protocol name (ALPN) of its TLS handshake.

/// What a connection is for. Its name is all that decides what the coordinator does after the TLS handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConnectionPurpose {
    /// A link of frames, over which rounds run.
    Rounds,
    /// One answer of the coordinator about itself, and nothing else (`WIRE-09`).
    Probe,
}

impl ConnectionPurpose {
    /// All of them. A peer that names several gets the first.
    pub(crate) const ALL: [Self; 2] = [Self::Rounds, Self::Probe];

    /// The protocol name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rounds => "cloister/1",
            Self::Probe => "cloister-probe/1",
        }
    }

    /// The purpose that a name stands for.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name().as_bytes() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_has_a_name_of_its_own() {
        for purpose in ConnectionPurpose::ALL {
            assert_eq!(ConnectionPurpose::named(purpose.name().as_bytes()), Some(purpose));
        }
        assert_eq!(ConnectionPurpose::named(b"cloister/2"), None);
    }
}
