//! Seals and reveals of two rounds, as `protocols/round.md` states them, for exhaustive checking.
//!
//! The adversary is the coordinator, with as many malicious custodians as the floors allow: it proposes whatever it
//! likes to whom it likes, delivers whatever is certified, restarts custodians from old copies of their journals, and
//! sees everything. So nothing is delivered in this model: a step is a signature or an upload of an honest party. What
//! malicious custodians would sign counts from the start, and what a certificate lets honest parties reveal counts as
//! revealed.
//!
//! One member, the victim, is looked at. Honest custodians have no names: states that differ in their order are one.

use cloister_params::floors::Floors;
use cloister_params::id::Round;
use cloister_protocol::custodian::SignedStep;
use stateright::{Model, Property};

/// A consortium, and which rules are in force.
#[derive(Clone, Debug)]
pub(crate) struct Seals {
    pub(crate) members: usize,
    pub(crate) custodians: usize,
    pub(crate) floors: Floors,
    /// How often custodians are restarted from an old copy of their journals.
    pub(crate) restores: u8,
    pub(crate) rules: Rules,
}

/// The rules that can be switched off, to see that the model finds what they prevent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// R1: a mask key of who did not upload, seeds of who did.
    pub(crate) reveals: bool,
    /// R3: each step once, in order.
    pub(crate) once: bool,
    /// R4: a custodian that was restored from a backup signs nothing more in rounds that it may have signed in.
    pub(crate) sits_out: bool,
    /// R2: a second seal reaches the floor.
    pub(crate) floor: bool,
    /// FLOOR-04: as many votes as two certificates need to share an honest custodian.
    pub(crate) quorum: bool,
}

impl Rules {
    pub(crate) const ALL: Self =
        Self { reveals: true, once: true, sits_out: true, floor: true, quorum: true };
}

/// Which of two manifests a first seal fixes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Manifest {
    One,
    Other,
}

/// Who arrived.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Uploaded {
    /// Everybody.
    All,
    /// Everybody but the victim.
    WithoutVictim,
    /// One organisation fewer than the floor, the victim among them.
    TooFew,
}

/// What custodians sign.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Body {
    Seal1(Manifest),
    Seal2(Manifest, Uploaded),
    Abort,
    Closing(Manifest, Uploaded),
}

impl Body {
    fn signed_step(self) -> SignedStep {
        match self {
            Self::Seal1(_) => SignedStep::Seal1,
            Self::Seal2(..) | Self::Abort => SignedStep::Outcome,
            Self::Closing(..) => SignedStep::Closing,
        }
    }
}

/// A body of a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Signed {
    pub(crate) round: u8,
    pub(crate) body: Body,
}

impl Signed {
    fn step(self) -> (Round, SignedStep) {
        (Round(self.round.into()), self.body.signed_step())
    }
}

/// Everything that may be signed, in the order of the steps. Of the second round the first seal is enough to see rounds
/// overlap.
const ALL: [Signed; 16] = {
    use Body::{Abort, Closing, Seal1, Seal2};
    use Manifest::{One, Other};
    use Uploaded::{All, TooFew, WithoutVictim};
    const fn first(body: Body) -> Signed {
        Signed { round: 1, body }
    }
    [
        first(Seal1(One)),
        first(Seal1(Other)),
        first(Abort),
        first(Seal2(One, All)),
        first(Seal2(One, WithoutVictim)),
        first(Seal2(One, TooFew)),
        first(Seal2(Other, All)),
        first(Seal2(Other, WithoutVictim)),
        first(Seal2(Other, TooFew)),
        first(Closing(One, All)),
        first(Closing(One, WithoutVictim)),
        first(Closing(One, TooFew)),
        first(Closing(Other, All)),
        first(Closing(Other, WithoutVictim)),
        first(Closing(Other, TooFew)),
        Signed { round: 2, body: Seal1(One) },
    ]
};

/// A set of what may be signed: bit `i` is entry `i` of [`ALL`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct Set(u16);

impl Set {
    fn holds(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }

    fn with(self, at: usize) -> Self {
        Self(self.0 | 1 << at)
    }

    /// The set without its last entry.
    fn without_last(self) -> Self {
        Self(self.last().map_or(0, |last| self.0 & !(1 << last)))
    }

    fn last(self) -> Option<usize> {
        self.0.checked_ilog2().map(|last| last as usize)
    }
}

/// The two kinds of the victim's secrets, in the first round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Secret {
    MaskKey,
    Seed,
}

/// An honest custodian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Custodian {
    /// What its disk says that it signed.
    journal: Set,
    /// What it did sign: the adversary keeps it all.
    signed: Set,
    /// Whether it was restored from a backup.
    restored: bool,
}

/// Everything that happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    /// The honest custodians, in an order of no meaning.
    honest: Vec<Custodian>,
    /// For which manifest the victim uploaded.
    uploaded: Option<Manifest>,
    restores: u8,
}

/// What an honest party does for the adversary. Custodians are numbered by their place in the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Sign(usize, usize),
    /// A custodian is restarted from a backup that lacks its last record.
    Restore(usize),
    Upload(Manifest),
}

impl Seals {
    /// The consortium of so many members and custodians, with every rule.
    pub(crate) fn new(members: usize, custodians: usize, restores: u8) -> Self {
        let floors = Floors::for_roster(members, custodians).expect("floors exist for these sizes");
        Self { members, custodians, floors, restores, rules: Rules::ALL }
    }

    fn quorum(&self) -> usize {
        self.floors.seal_quorum - usize::from(!self.rules.quorum)
    }

    /// Whether the adversary has a certificate of this entry of [`ALL`].
    fn is_certified(&self, state: &State, at: usize) -> bool {
        let honest = state.honest.iter().filter(|custodian| custodian.signed.holds(at)).count();
        honest + self.floors.malicious_custodians >= self.quorum()
    }

    /// Whether a body of the first round is certified that this holds for.
    fn any_certified(&self, state: &State, wanted: impl Fn(Body) -> bool) -> bool {
        (0..ALL.len()).any(|at| ALL[at].round == 1 && wanted(ALL[at].body) && self.is_certified(state, at))
    }

    fn certified(&self, state: &State, body: Body) -> bool {
        self.any_certified(state, |other| other == body)
    }

    fn has_ended(&self, state: &State) -> bool {
        self.any_certified(state, |body| matches!(body, Body::Abort | Body::Closing(..)))
    }

    /// How many members a second seal names.
    fn count(&self, uploaded: Uploaded) -> usize {
        match uploaded {
            Uploaded::All => self.members,
            Uploaded::WithoutVictim => self.members - 1,
            Uploaded::TooFew => self.floors.cohort - 1,
        }
    }

    /// Whether what a body builds on is certified, and the body obeys the floor (`ROUND-02`, `ROUND-05`).
    fn is_justified(&self, state: &State, signed: Signed) -> bool {
        match signed.body {
            Body::Seal1(_) => signed.round == 1 || !self.rules.once || self.has_ended(state),
            Body::Abort => true,
            Body::Seal2(manifest, uploaded) => {
                let reaches = !self.rules.floor || self.count(uploaded) >= self.floors.cohort;
                // ROUND-14: the victim is named only with a root that it signed.
                let has_root = uploaded == Uploaded::WithoutVictim || state.uploaded == Some(manifest);
                reaches && has_root && self.certified(state, Body::Seal1(manifest))
            }
            Body::Closing(manifest, uploaded) => self.certified(state, Body::Seal2(manifest, uploaded)),
        }
    }

    /// Whether a custodian signs: each step once, one body a step, never a step before one that it signed (`ROUND-03`).
    fn signs(&self, state: &State, custodian: &Custodian, at: usize) -> bool {
        let in_order = custodian.journal.last().is_none_or(|last| ALL[last].step() < ALL[at].step());
        let waits = custodian.restored && self.rules.sits_out;
        (in_order || !self.rules.once)
            && !waits
            && !custodian.signed.holds(at)
            && self.is_justified(state, ALL[at])
    }

    /// Whether certificates let the adversary have a secret (`ROUND-01`): every honest custodian gives its share for one,
    /// and the victim its seeds.
    fn opens(&self, state: &State, secret: Secret) -> bool {
        let permits = |uploaded: Uploaded| match secret {
            _ if !self.rules.reveals => true,
            Secret::MaskKey => uploaded == Uploaded::WithoutVictim,
            Secret::Seed => uploaded != Uploaded::WithoutVictim,
        };
        self.custodians >= self.floors.reveal_threshold
            && self.any_certified(state, |body| matches!(body, Body::Seal2(_, uploaded) if permits(uploaded)))
    }

    /// Of every step of every round, at most one body is certified.
    fn has_no_equivocation(&self, state: &State) -> bool {
        let mut steps: Vec<_> =
            (0..ALL.len()).filter(|at| self.is_certified(state, *at)).map(|at| ALL[at].step()).collect();
        let all = steps.len();
        steps.dedup();
        steps.len() == all
    }

    fn has_no_thin_cohort(&self, state: &State) -> bool {
        let thin =
            |body| matches!(body, Body::Seal2(_, uploaded) if self.count(uploaded) < self.floors.cohort);
        !self.any_certified(state, thin)
    }

    /// A later round is sealed only after the one before has ended.
    fn has_no_overlap(&self, state: &State) -> bool {
        !self.is_certified(state, ALL.len() - 1) || self.has_ended(state)
    }
}

impl Model for Seals {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let honest = vec![Custodian::default(); self.custodians - self.floors.malicious_custodians];
        vec![State { honest, uploaded: None, restores: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, custodian) in state.honest.iter().enumerate() {
            // Of custodians in the same state, one is enough.
            if number > 0 && state.honest[number - 1] == *custodian {
                continue;
            }
            let signs = (0..ALL.len()).filter(|at| self.signs(state, custodian, *at));
            actions.extend(signs.map(|at| Action::Sign(number, at)));
            if state.restores < self.restores && custodian.journal.last().is_some() {
                actions.push(Action::Restore(number));
            }
        }
        if state.uploaded.is_none() {
            let sealed = [Manifest::One, Manifest::Other]
                .into_iter()
                .filter(|manifest| self.certified(state, Body::Seal1(*manifest)));
            actions.extend(sealed.map(Action::Upload));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Sign(number, at) => {
                let custodian = &mut next.honest[number];
                custodian.journal = custodian.journal.with(at);
                custodian.signed = custodian.signed.with(at);
            }
            Action::Restore(number) => {
                let custodian = &mut next.honest[number];
                custodian.journal = custodian.journal.without_last();
                custodian.restored = true;
                next.restores += 1;
            }
            Action::Upload(manifest) => next.uploaded = Some(manifest),
        }
        next.honest.sort_unstable();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("R1", |model: &Self, state| {
                !(model.opens(state, Secret::MaskKey) && model.opens(state, Secret::Seed))
            }),
            Property::always("R2", |model: &Self, state| model.has_no_thin_cohort(state)),
            Property::always("R3", |model: &Self, state| model.has_no_equivocation(state)),
            Property::always("R3 order", |model: &Self, state| model.has_no_overlap(state)),
            Property::sometimes("a round closes", |model: &Self, state| {
                model.any_certified(state, |body| matches!(body, Body::Closing(..)))
            }),
            Property::sometimes("a round is aborted", |model: &Self, state| {
                model.certified(state, Body::Abort)
            }),
            Property::sometimes("the next round is sealed", |model: &Self, state| {
                model.is_certified(state, ALL.len() - 1)
            }),
            Property::sometimes("the victim's seeds open", |model: &Self, state| {
                model.opens(state, Secret::Seed)
            }),
            Property::sometimes("a departed victim's mask key opens", |model: &Self, state| {
                model.opens(state, Secret::MaskKey)
            }),
        ]
    }
}
