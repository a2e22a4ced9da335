//! Lists that broke a rule once, as the simulation prints them.

use crate::operation::Attack::WithholdSketches;
use crate::operation::Operation::{
    Attack, Connect, Disconnect, Expire, Restart, RestartCoordinator, Settle, Silence, StartRound, Step,
};
use crate::operation::{Configuration, Operation};

/// A kept list.
pub(crate) struct Reproduction {
    pub(crate) name: &'static str,
    pub(crate) configuration: Configuration,
    pub(crate) operations: Vec<Operation>,
}

/// All kept lists.
pub(crate) fn kept() -> Vec<Reproduction> {
    vec![
        Reproduction {
            name: "a closing applies nothing, and the coordinator restarts in the next round",
            configuration: Configuration {
                experts: 1,
                coordinator_is_byzantine: true,
                late_sketches: true,
                every_block_is_sketched: true,
                ..Configuration::with_members(6)
            },
            operations: vec![
                Attack(WithholdSketches, 5),
                StartRound,
                Settle,
                Expire,
                Settle,
                StartRound,
                RestartCoordinator,
            ],
        },
        Reproduction {
            name: "a member is silent, a custodian restarts between the seals, and two rounds follow",
            configuration: Configuration::with_members(7),
            operations: vec![
                StartRound,
                Step(0),
                Silence(6),
                Disconnect(4),
                Settle,
                Connect(4),
                Expire,
                Restart(2),
                Settle,
                Connect(2),
                Settle,
                Expire,
                Settle,
                StartRound,
                Settle,
            ],
        },
    ]
}
