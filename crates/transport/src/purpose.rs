//! What a peer wants of a coordinator, by the protocol name (ALPN) of its TLS handshake.

use crate::settings::{STRANGERS_WINDOW, WINDOW};

/// What a connection is for. Its name is all that decides what the coordinator does after the TLS handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConnectionPurpose {
    /// A link of frames, over which rounds run.
    Rounds,
    /// One answer of the coordinator about itself, and nothing else (`WIRE-09`).
    Probe,
    /// A link of frames, over which a member asks for models by their digests (`WIRE-11`).
    Model,
    /// One request and one answer, of a party that is in no roster yet (`WIRE-10`).
    Enrolment,
}

impl ConnectionPurpose {
    /// All of them. A peer that names several gets the first.
    pub(crate) const ALL: [Self; 4] = [Self::Rounds, Self::Probe, Self::Model, Self::Enrolment];

    /// The protocol name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rounds => "cloister/1",
            Self::Probe => "cloister-probe/1",
            Self::Model => "cloister-model/1",
            Self::Enrolment => "cloister-enrolment/1",
        }
    }

    /// The purpose that a name stands for.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name().as_bytes() == name)
    }

    /// What a peer that names these protocols gets.
    pub(crate) fn first_named<'a>(names: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let named: Vec<Self> = names.filter_map(Self::named).collect();
        Self::ALL.into_iter().find(|purpose| named.contains(purpose))
    }

    /// How many bytes of a connection may have arrived without having been read.
    pub(crate) fn window(self) -> u32 {
        match self {
            Self::Rounds | Self::Probe | Self::Model => WINDOW,
            Self::Enrolment => STRANGERS_WINDOW,
        }
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

    /// WIRE-10: otherwise a stranger could name both, and be let in as one and served as the other.
    #[test]
    fn who_names_several_purposes_gets_the_one_that_checks_the_roster() {
        let first = |names: &[&str]| ConnectionPurpose::first_named(names.iter().map(|name| name.as_bytes()));
        let (rounds, enrolment) = ("cloister/1", "cloister-enrolment/1");
        assert_eq!(first(&[enrolment, rounds]), Some(ConnectionPurpose::Rounds));
        assert_eq!(first(&[enrolment, "cloister-model/1"]), Some(ConnectionPurpose::Model));
        assert_eq!(first(&["h3", enrolment]), Some(ConnectionPurpose::Enrolment), "control");
        assert_eq!(first(&["h3"]), None);
    }
}
