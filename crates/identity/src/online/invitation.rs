//! The line of text with which a party is invited.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cloister_crypto::hash::{Domain, digest};
use cloister_params::id::Digest;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::enrolment::EnrolmentRole;
use crate::fingerprint::Fingerprint;

/// What an invitation of this version starts with.
const PREFIX: &str = "cloister-invitation-1";
/// The longest address, in bytes: a name in the DNS has at most 253.
const MAX_ADDRESS: usize = 300;
/// Bytes of the digest that are the checksum.
const CHECKSUM: usize = 5;

/// The secret of an invitation: 16 random bytes. Whoever has it may hand in one enrolment file.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct InvitationToken([u8; 16]);

impl InvitationToken {
    /// A token of random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// What the coordinator stores, from which nobody gets the token (`CONS-13`).
    pub fn digest(&self) -> Digest {
        digest(Domain::InvitationToken, &[&self.0])
    }

    /// The bytes, for a request.
    pub(super) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for InvitationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationToken(…)")
    }
}

/// What a party needs to enrol: where the coordinator is, how it is recognised, and a token that is accepted once.
#[derive(Debug)]
pub struct Invitation {
    address: String,
    coordinator: Fingerprint,
    roles: Vec<EnrolmentRole>,
    expires: u64,
    token: InvitationToken,
}

/// Why a text is not an invitation.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum InvitationError {
    /// It does not start as an invitation does.
    #[error(
        "it does not start with `{PREFIX}`; copy the whole line that `cloister run invite` printed. If it starts with a higher \
         number, a later version of the program wrote it; install that version"
    )]
    Prefix,
    /// A character is missing or was changed.
    #[error("its checksum does not fit: a part is missing or was changed; copy the whole line again")]
    Checksum,
    /// The checksum fits, and a part has no meaning.
    #[error("its {part} cannot be read; ask the coordinator's operator for another invitation")]
    Part {
        /// The part.
        part: &'static str,
    },
    /// An address that no invitation may have.
    #[error(
        "its address must have 1 to {MAX_ADDRESS} printable ASCII characters without a comma, as in cloister.example.org:443"
    )]
    Address,
    /// Roles that no party may be invited for.
    #[error("its roles are {got:?}; expected `member`, `custodian` or both, each once")]
    Roles {
        /// The roles.
        got: Vec<EnrolmentRole>,
    },
}

impl Invitation {
    /// An invitation that expires at this time. Fractions of a second are dropped.
    ///
    /// # Errors
    /// [`InvitationError::Address`] or [`InvitationError::Roles`].
    pub fn new(
        address: String,
        coordinator: Fingerprint,
        roles: Vec<EnrolmentRole>,
        expires: SystemTime,
        token: InvitationToken,
    ) -> Result<Self, InvitationError> {
        let is_text = address.chars().all(|c| c.is_ascii_graphic() && c != ',');
        if address.is_empty() || address.len() > MAX_ADDRESS || !is_text {
            return Err(InvitationError::Address);
        }
        if roles_text(&roles).is_none() {
            return Err(InvitationError::Roles { got: roles });
        }
        Ok(Self { address, coordinator, roles, expires: seconds(expires), token })
    }

    /// Reads an invitation. Blanks and line ends, which mail programs insert, do not count.
    ///
    /// # Errors
    /// See [`InvitationError`].
    pub fn parse(text: &str) -> Result<Self, InvitationError> {
        let text: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
        let rest = text.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(','));
        let rest = rest.ok_or(InvitationError::Prefix)?;
        let (body, checksum) = text.rsplit_once(',').ok_or(InvitationError::Prefix)?;
        if checksum != checksum_of(body) {
            return Err(InvitationError::Checksum);
        }
        let parts: Vec<&str> = rest.split(',').collect();
        let [address, coordinator, roles, expires, token, _] = parts[..] else {
            return Err(InvitationError::Part { part: "number of parts" });
        };
        let bad = |part| InvitationError::Part { part };
        let coordinator = coordinator.parse().map_err(|_| bad("fingerprint"))?;
        let roles = roles_named(roles).ok_or_else(|| bad("list of roles"))?;
        let expires = expires.parse().ok().and_then(time).ok_or_else(|| bad("expiry"))?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(token, &mut bytes).map_err(|_| bad("token"))?;
        let invitation =
            Self::new(address.to_owned(), coordinator, roles, expires, InvitationToken::new(bytes))?;
        // Upper-case digits or leading zeros: one invitation has one text.
        match invitation.to_text() == text {
            true => Ok(invitation),
            false => Err(bad("spelling")),
        }
    }

    /// The line of text. It holds the token, so it goes to the invited party alone.
    pub fn to_text(&self) -> Zeroizing<String> {
        let roles = roles_text(&self.roles).expect("checked when this was made");
        let Self { address, coordinator, expires, token, .. } = self;
        let token = Zeroizing::new(hex::encode(token.bytes()));
        let body = format!("{PREFIX},{address},{coordinator},{roles},{expires},{}", *token);
        let body = Zeroizing::new(body);
        Zeroizing::new(format!("{},{}", *body, checksum_of(&body)))
    }

    /// The coordinator's name or address with its port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The coordinator's certificate, which the party pins (`CONS-14`).
    pub fn coordinator(&self) -> Fingerprint {
        self.coordinator
    }

    /// The roles for which the party is invited.
    pub fn roles(&self) -> &[EnrolmentRole] {
        &self.roles
    }

    /// Until when the coordinator takes an enrolment file for it.
    pub fn expires(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.expires)
    }

    /// The token.
    pub fn token(&self) -> &InvitationToken {
        &self.token
    }
}

/// Whole seconds since 1970; 0 before.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time of a number of seconds since 1970, if the system's clock has it.
fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The last part of an invitation, over everything before it but the comma.
fn checksum_of(body: &str) -> String {
    hex::encode(&digest(Domain::Invitation, &[body.as_bytes()]).0[..CHECKSUM])
}

/// Every list of roles that a party may be invited for, with its name in an invitation.
const ROLES: [(&str, &[EnrolmentRole]); 3] = [
    ("member", &[EnrolmentRole::Member]),
    ("custodian", &[EnrolmentRole::Custodian]),
    ("member+custodian", &[EnrolmentRole::Member, EnrolmentRole::Custodian]),
];

pub(super) fn roles_text(roles: &[EnrolmentRole]) -> Option<&'static str> {
    ROLES.iter().find(|(_, listed)| *listed == roles).map(|(name, _)| *name)
}

fn roles_named(text: &str) -> Option<Vec<EnrolmentRole>> {
    ROLES.iter().find(|(name, _)| *name == text).map(|(_, roles)| roles.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invitation(address: &str, seed: u8, roles: &[EnrolmentRole], expires: u64) -> Invitation {
        let expires = time(expires).expect("a time");
        let (coordinator, token) = (Fingerprint([seed; 32]), InvitationToken::new([seed ^ 0x5a; 16]));
        Invitation::new(address.to_owned(), coordinator, roles.to_vec(), expires, token).expect("sound")
    }

    fn reprint(text: &str) -> Result<String, InvitationError> {
        Invitation::parse(text).map(|invitation| invitation.to_text().to_string())
    }

    /// CONS-14
    #[test]
    fn every_change_of_one_character_is_noticed() {
        let text = invitation("cloister.example.org:443", 7, ROLES[2].1, 1_790_000_000).to_text();
        assert_eq!(reprint(&text).as_deref(), Ok(text.as_str()), "control");
        for at in 0..text.len() {
            let deleted = format!("{}{}", &text[..at], &text[at + 1..]);
            assert!(reprint(&deleted).is_err(), "{deleted}");
            for other in (b'!'..=b'~').map(char::from).filter(|other| !text[at..].starts_with(*other)) {
                let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert!(reprint(&changed).is_err(), "{changed}");
                let inserted = format!("{}{other}{}", &text[..at], &text[at..]);
                assert!(reprint(&inserted).is_err(), "{inserted}");
            }
        }
    }

    #[test]
    fn blanks_and_line_ends_of_a_mail_program_do_not_matter() {
        let text = invitation("[2001:db8::1]:443", 1, ROLES[0].1, 5).to_text();
        let wrapped = format!("  {}\r\n{} \n{}\n", &text[..30], &text[30..90], &text[90..]);
        assert_eq!(reprint(&wrapped).as_deref(), Ok(text.as_str()));
    }

    #[test]
    fn one_invitation_has_one_text() {
        let text = invitation("a:1", 0xab, ROLES[1].1, 5).to_text();
        let (body, _) = text.rsplit_once(',').expect("a checksum");
        let respelled = |from: &str, to: &str| {
            let body = body.replace(from, to);
            reprint(&format!("{body},{}", checksum_of(&body)))
        };
        assert_eq!(respelled("a:1", "b:1").map(|text| text.contains(",b:1,")), Ok(true), "control");
        assert_eq!(respelled("abab", "ABAB"), Err(InvitationError::Part { part: "spelling" }));
        assert_eq!(respelled(",5,", ",05,"), Err(InvitationError::Part { part: "spelling" }));
        assert_eq!(respelled(",5,", ",5,5,"), Err(InvitationError::Part { part: "number of parts" }));
        assert_eq!(
            respelled(",custodian,", ",coordinator,"),
            Err(InvitationError::Part { part: "list of roles" })
        );
        let forever = format!(",{},", u64::MAX);
        assert_eq!(respelled(",5,", &forever), Err(InvitationError::Part { part: "expiry" }));
        assert_eq!(respelled("a:1", ""), Err(InvitationError::Address));
    }

    #[test]
    fn addresses_and_roles_that_the_text_cannot_hold_are_refused() {
        let make = |address: &str, roles: &[EnrolmentRole]| {
            let token = InvitationToken::new([0; 16]);
            Invitation::new(address.to_owned(), Fingerprint([0; 32]), roles.to_vec(), UNIX_EPOCH, token)
                .map(|_| ())
        };
        assert_eq!(make("a:1", ROLES[0].1), Ok(()), "control");
        for address in ["", "a,b:1", "a b:1", "ä:1", "a\n:1", &"a".repeat(301)] {
            assert_eq!(make(address, ROLES[0].1), Err(InvitationError::Address), "{address}");
        }
        for roles in [
            &[][..],
            &[EnrolmentRole::Coordinator],
            &[EnrolmentRole::Custodian, EnrolmentRole::Member],
            &[EnrolmentRole::Member, EnrolmentRole::Member],
        ] {
            assert_eq!(make("a:1", roles), Err(InvitationError::Roles { got: roles.to_vec() }));
        }
    }

    /// CONS-13
    #[test]
    fn an_invitation_prints_its_token_only_as_the_text() {
        let invitation = invitation("a:1", 0xab, ROLES[0].1, 5);
        let token = hex::encode([0xab ^ 0x5a; 16]);
        assert!(invitation.to_text().contains(&token), "control");
        let printed = format!("{invitation:?} {:?}", invitation.token().digest());
        assert!(!printed.contains(&token) && !printed.contains(&format!("{:?}", [0xab_u8 ^ 0x5a; 16])));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed(
            address in "[!-+\\--~]{1,300}", seed: u8, roles in 0..3_usize, expires in 0..u64::from(u32::MAX)
        ) {
            let text = invitation(&address, seed, ROLES[roles].1, expires).to_text();
            let parsed = Invitation::parse(&text).expect("printed");
            prop_assert_eq!(parsed.address(), address);
            prop_assert_eq!(parsed.coordinator(), Fingerprint([seed; 32]));
            prop_assert_eq!(parsed.roles(), ROLES[roles].1);
            prop_assert_eq!(seconds(parsed.expires()), expires);
            prop_assert_eq!(parsed.token().bytes(), &[seed ^ 0x5a; 16]);
        }

        #[test]
        fn no_text_panics(text in "(cloister-invitation-1,)?\\PC{0,200}") {
            if let Ok(invitation) = Invitation::parse(&text) {
                let joined: String = text.split_whitespace().collect();
                prop_assert!(*invitation.to_text() == joined);
            }
        }
    }
}
