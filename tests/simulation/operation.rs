//! Operations, as data: they print as the Rust that makes them, and travel as JSON.

use serde::{Deserialize, Serialize};

/// A consortium and who of it breaks the rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Configuration {
    /// Members, 3 to 40; the first sixteen are custodians.
    pub members: u32,
    /// Experts of the model.
    pub experts: u16,
    /// Seed of weights, updates and keys of the rounds.
    pub seed: u64,
    /// Custodians, from the first on, that sign and reveal everything.
    pub byzantine_custodians: u32,
    /// Whether attacks are among the operations.
    pub coordinator_is_byzantine: bool,
    /// Whether the plan has late sketches; its shared block is long enough for them then.
    #[serde(default)]
    pub late_sketches: bool,
    /// Members, from the last on, that sketch something else than they uploaded.
    #[serde(default)]
    pub lying_members: u32,
    /// Whether late sketches are of all blocks, so that a round can end without changing the model.
    #[serde(default)]
    pub every_block_is_sketched: bool,
    /// Whether the plan has an evaluation, whose sum is applied in every round.
    #[serde(default)]
    pub evaluation: bool,
    /// Whether sketches are withheld, so that the plan has a block of regions.
    #[serde(default)]
    pub withheld: bool,
    /// Parties, from the last on, that are the coordinator's: it has their secrets, and their members may deal wrong keys.
    #[serde(default)]
    pub corrupt_members: u32,
    /// Whether training twice on one model leads to other integers.
    #[serde(default)]
    pub trains_afresh: bool,
    /// Whether state machines are compared with what they were before each input that they refuse, which is slow.
    #[serde(default)]
    pub faults_are_watched: bool,
    /// Positive control: restarted parties find nothing on their disks.
    pub journals_are_lost: bool,
    /// Positive control: a restarted coordinator finds nothing of its round on its disk.
    #[serde(default)]
    pub coordinator_forgets: bool,
    /// Positive control: sums are compared with other updates than the members'.
    pub members_lie: bool,
}

impl Configuration {
    /// Honest parties.
    pub(crate) fn with_members(members: u32) -> Self {
        Self {
            members,
            experts: 2,
            seed: 1,
            byzantine_custodians: 0,
            coordinator_is_byzantine: false,
            late_sketches: false,
            lying_members: 0,
            every_block_is_sketched: false,
            evaluation: true,
            withheld: false,
            corrupt_members: 0,
            trains_afresh: false,
            faults_are_watched: false,
            journals_are_lost: false,
            coordinator_forgets: false,
            members_lie: false,
        }
    }
}

/// One operation. Numbers are taken modulo what there is to choose from, so that every list can be replayed on every
/// configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Operation {
    /// One of the things that can happen next: a delivery or the end of a training.
    Step(u32),
    /// The next frame of a link arrives and stays on the link.
    Duplicate(u32),
    /// A party's link is cut, with what is under way on it.
    Disconnect(u32),
    /// A party's link is opened.
    Connect(u32),
    /// A party's process ends and is started from its journal, without a link.
    Restart(u32),
    /// The coordinator's process ends and is started from its journal; every link is lost.
    RestartCoordinator,
    /// A member says nothing any more until its party is restarted.
    Silence(u32),
    /// The coordinator's deadline passes.
    Expire,
    /// The next round begins, if none is in progress.
    StartRound,
    /// A rehearsal begins, if no round is in progress.
    StartRehearsal,
    /// Everything happens that can happen without a deadline.
    Settle,
    /// The coordinator breaks a rule.
    Attack(Attack, u32),
}

/// What a byzantine coordinator does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Attack {
    /// An old frame once more.
    Replay,
    /// A frame is withheld for good.
    Withhold,
    /// Another plan for the same round, to some.
    SecondPlan,
    /// Made-up evidence that a member dealt badly, to some. A later second plan may bar this member.
    FalseEvidence,
    /// Another manifest with another first seal, to some.
    SecondManifest,
    /// A manifest with a cohort below the floor.
    ThinCohort,
    /// Another second seal, with other members, to some.
    SecondSeal2,
    /// A second seal with too few members.
    TooFewUploaded,
    /// An abort, to some.
    Abort,
    /// A request for the seeds of a member.
    SeedShares,
    /// A second seal's certificate below the quorum, filled up with one signer.
    ShortCertificate,
    /// A corrupt member announces another mask key than its letters share, and does not upload.
    WrongKey,
    /// A member's late sketches are kept back until the round ends.
    WithholdSketches,
    /// The next ending is shown to some by the plan after it alone.
    EndingByPlan,
    /// A member gets nothing until the round ends.
    LeaveOut,
    /// Before the next closing is proposed, custodians are asked for one that hides all sums.
    HideSums,
    /// The next frame of a link arrives with one bit changed, before it arrives as it is. Of an honest coordinator's frames
    /// none is changed.
    BendFrame,
}

impl Attack {
    /// All of them.
    pub(crate) const ALL: [Self; 16] = [
        Self::Replay,
        Self::Withhold,
        Self::SecondPlan,
        Self::FalseEvidence,
        Self::SecondManifest,
        Self::ThinCohort,
        Self::SecondSeal2,
        Self::TooFewUploaded,
        Self::Abort,
        Self::SeedShares,
        Self::ShortCertificate,
        Self::WrongKey,
        Self::WithholdSketches,
        Self::EndingByPlan,
        Self::LeaveOut,
        Self::HideSums,
    ];

    /// What makes state machines refuse the most.
    pub(crate) const OF_FAULTS: [Self; 4] = [Self::BendFrame, Self::BendFrame, Self::BendFrame, Self::Replay];

    /// Those that could make sums whose difference is one member's integers.
    pub(crate) const OF_DIFFERENCES: [Self; 5] =
        [Self::WrongKey, Self::WithholdSketches, Self::EndingByPlan, Self::LeaveOut, Self::HideSums];
}
