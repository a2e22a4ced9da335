//! The privacy floors and quorums of a roster. They are computed here and nowhere else. Files and plans may
//! tighten them, and never loosen them.

use thiserror::Error;

/// How many other honest members every member of a summed cohort is promised (`H` of the specification).
pub const HONEST_COMPANIONS: usize = 2;
/// The largest number of member organisations. Every member shares a mask with every other, so that more
/// members would need a sparse graph of masks, whose connectivity would have to be checked
/// (`protocols/growth.md`).
pub const MAX_MEMBERS: usize = 300;
/// The smallest number of member organisations, and of custodians, with which a sum hides anybody.
pub const MIN_MEMBERS: usize = 3;
/// By default every member is a custodian, up to this many.
pub const DEFAULT_CUSTODIANS: usize = 16;
/// From this many members on, cohorts smaller than everyone are possible with room for dropouts.
pub const COHORTS_FROM: usize = 8;

/// A roster for which no floors exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FloorsError {
    /// Too few organisations for a sum to hide anybody, or more than [`MAX_MEMBERS`].
    #[error(
        "the roster has {got} member organisations; between {MIN_MEMBERS} and {MAX_MEMBERS} are possible"
    )]
    Members {
        /// Member organisations in the roster.
        got: usize,
    },
    /// Too few custodians: shares would not be safe with any one of them.
    #[error("the roster has {got} custodians; at least {MIN_MEMBERS} are needed")]
    Custodians {
        /// Custodians in the roster.
        got: usize,
    },
    /// So many custodians may be corrupt that the cohort floor exceeds the number of members.
    #[error(
        "{custodians} custodians need cohorts of {cohort} organisations, but there are {members}; list fewer custodians"
    )]
    Unreachable {
        /// Member organisations in the roster.
        members: usize,
        /// Custodians in the roster.
        custodians: usize,
        /// The cohort floor that they lead to.
        cohort: usize,
    },
}

/// What a roster of `n` member organisations and `c` custodians tolerates and demands (`FLOOR-01` to
/// `FLOOR-04`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Floors {
    /// Member organisations, `n`.
    pub members: usize,
    /// Custodians, `c`.
    pub custodians: usize,
    /// Malicious custodians tolerated, `f = ceil(c/3) - 1`.
    pub malicious_custodians: usize,
    /// Corrupt organisations tolerated in the whole roster, `T = max(f, floor(n/5))`.
    pub corrupt_organisations: usize,
    /// The fewest organisations of a cohort whose sum is opened, `F = T + H + 1`.
    pub cohort: usize,
    /// Signatures that make a certificate, `h_s = floor((c+f)/2) + 1`. Any two certificates then share an
    /// honest signer, and an honest custodian signs one body only: a round cannot have two results.
    pub seal_quorum: usize,
    /// Shares that open a secret, `h_r = floor(c/2) + 1`. It is above `f`, so that malicious custodians alone
    /// open nothing.
    pub reveal_threshold: usize,
}

impl Floors {
    /// The floors of a roster with so many member organisations and custodians.
    ///
    /// # Errors
    /// A roster outside the sizes that the specification covers.
    pub fn for_roster(member_organisations: usize, custodians: usize) -> Result<Self, FloorsError> {
        let (n, c) = (member_organisations, custodians);
        if !(MIN_MEMBERS..=MAX_MEMBERS).contains(&n) {
            return Err(FloorsError::Members { got: n });
        }
        if c < MIN_MEMBERS {
            return Err(FloorsError::Custodians { got: c });
        }
        // FLOOR-01, FLOOR-02: the corrupt organisations include those of the malicious custodians.
        let malicious_custodians = c.div_ceil(3) - 1;
        let corrupt_organisations = malicious_custodians.max(n / 5);
        // FLOOR-03: one member, and its honest companions besides all that may be corrupt.
        let cohort = corrupt_organisations + HONEST_COMPANIONS + 1;
        if cohort > n {
            return Err(FloorsError::Unreachable { members: n, custodians: c, cohort });
        }
        Ok(Self {
            members: n,
            custodians: c,
            malicious_custodians,
            corrupt_organisations,
            cohort,
            // FLOOR-04
            seal_quorum: usize::midpoint(c, malicious_custodians) + 1,
            reveal_threshold: c / 2 + 1,
        })
    }

    /// How many members may drop out of a round that still has sums.
    pub fn tolerated_losses(&self) -> usize {
        // A lost member may be a custodian too: a cohort and a quorum must both remain.
        (self.members - self.cohort).min(self.custodians.saturating_sub(self.seal_quorum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FLOOR-01, FLOOR-02, FLOOR-03, FLOOR-04
    #[test]
    fn agree_with_the_table_of_the_specification() {
        // n = c, f, T, F, h_s, h_r
        let rows = [
            (3, 0, 0, 3, 2, 2),
            (4, 1, 1, 4, 3, 3),
            (5, 1, 1, 4, 4, 3),
            (7, 2, 2, 5, 5, 4),
            (8, 2, 2, 5, 6, 5),
            (10, 3, 3, 6, 7, 6),
            (16, 5, 5, 8, 11, 9),
        ];
        for (n, f, t, cohort, seal, reveal) in rows {
            let floors = Floors::for_roster(n, n).expect("a covered size");
            let got = (floors.malicious_custodians, floors.corrupt_organisations, floors.cohort);
            assert_eq!(got, (f, t, cohort), "n = {n}");
            assert_eq!((floors.seal_quorum, floors.reveal_threshold), (seal, reveal), "n = {n}");
        }
    }

    /// FLOOR-04
    #[test]
    fn two_certificates_share_an_honest_custodian_and_f_shares_open_nothing() {
        for c in 3..=40 {
            let floors = Floors::for_roster(c, c).expect("a covered size");
            assert!(2 * floors.seal_quorum - c > floors.malicious_custodians, "c = {c}");
            assert!(floors.reveal_threshold > floors.malicious_custodians, "c = {c}");
            assert!(floors.seal_quorum <= c - floors.malicious_custodians, "liveness, c = {c}");
        }
    }

    /// FLOOR-03
    #[test]
    fn cohorts_keep_honest_companions() {
        for n in 3..=MAX_MEMBERS {
            let floors = Floors::for_roster(n, n.min(DEFAULT_CUSTODIANS)).expect("a covered size");
            assert!(floors.cohort > floors.corrupt_organisations + HONEST_COMPANIONS, "n = {n}");
        }
    }

    #[test]
    fn sizes_outside_the_specification_are_refused() {
        assert_eq!(Floors::for_roster(2, 5), Err(FloorsError::Members { got: 2 }));
        assert_eq!(Floors::for_roster(301, 16), Err(FloorsError::Members { got: 301 }));
        assert_eq!(Floors::for_roster(5, 2), Err(FloorsError::Custodians { got: 2 }));
        assert_eq!(
            Floors::for_roster(5, 16),
            Err(FloorsError::Unreachable { members: 5, custodians: 16, cohort: 8 })
        );
    }
}
