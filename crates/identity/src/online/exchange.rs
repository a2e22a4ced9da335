//! What a party's program and the coordinator exchange, in the canonical encoding (`WIRE-01`).

use std::fmt;

use cloister_crypto::sign::SignatureBytes;
use cloister_params::consortium::MAX_FILE_BYTES;
use cloister_params::id::Digest;
use cloister_wire::codec::{self, DecodeError};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::invitation::InvitationToken;

/// The format's version.
const VERSION: u32 = 1;
/// The largest request, in bytes. A coordinator reads no more of a stranger.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;
/// The largest answer, in bytes: a consortium file, and 64 KiB for what comes with it.
pub const MAX_ANSWER_BYTES: usize = MAX_FILE_BYTES + (64 << 10);

/// What a party hands to the coordinator. The same request, sent again, asks how its enrolment stands.
pub struct EnrolmentRequest {
    /// The invitation's token.
    pub token: InvitationToken,
    /// The text of the party's enrolment file.
    pub enrolment: String,
}

impl fmt::Debug for EnrolmentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolmentRequest").field("enrolment", &self.enrolment).finish_non_exhaustive()
    }
}

/// The request as it is sent.
#[derive(Serialize, Deserialize)]
struct RequestBody {
    version: u32,
    token: [u8; 16],
    enrolment: String,
}

/// Why bytes are not a request.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RequestError {
    /// More bytes than any request has.
    #[error("an enrolment request has at most {MAX_REQUEST_BYTES} bytes, and {got} came")]
    TooLarge {
        /// How many there are.
        got: usize,
    },
    /// Not the encoding of a request.
    #[error("the request cannot be read: {0}")]
    Encoding(#[from] DecodeError),
    /// Another version's format.
    #[error("the request's format is version {got}, and this program reads version {VERSION}")]
    Version {
        /// The request's version.
        got: u32,
    },
}

impl EnrolmentRequest {
    /// The request's bytes, which hold the token.
    ///
    /// # Errors
    /// [`RequestError::TooLarge`] for an enrolment file that does not fit.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, RequestError> {
        let (token, enrolment) = (*self.token.bytes(), self.enrolment.clone());
        let bytes = Zeroizing::new(codec::encode(&RequestBody { version: VERSION, token, enrolment }));
        check_size(&bytes)?;
        Ok(bytes)
    }

    /// Reads a request of a stranger.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        check_size(bytes)?;
        let RequestBody { version, token, enrolment } = codec::decode(bytes)?;
        match version {
            VERSION => Ok(Self { token: InvitationToken::new(token), enrolment }),
            got => Err(RequestError::Version { got }),
        }
    }
}

fn check_size(bytes: &[u8]) -> Result<(), RequestError> {
    match bytes.len() {
        got if got > MAX_REQUEST_BYTES => Err(RequestError::TooLarge { got }),
        _ => Ok(()),
    }
}

/// What the coordinator answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EnrolmentAnswer {
    /// The coordinator has kept the file. The holder of the governance key has not added the party yet.
    Kept(Receipt),
    /// The edition in force lists the party with its keys.
    Listed(SignedEdition),
    /// The coordinator has not kept the file.
    Refused(EnrolmentRefusal),
}

/// What the coordinator kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The digest of the enrolment, by which the party sees that its own file was kept.
    pub enrolment: Digest,
    /// When the coordinator kept it, in seconds since 1970 by the coordinator's clock.
    pub kept_at: u64,
    /// The consortium's name.
    pub consortium: String,
}

/// The consortium file in force, as the coordinator has it. The party checks it by a governance key that it pins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedEdition {
    /// The governance key that the coordinator pins. The party does not trust it (`CONS-14`).
    pub governance_key: [u8; 32],
    /// The file's text.
    pub file: String,
    /// The governance key's signature, in 64 bytes.
    signature: Vec<u8>,
}

impl SignedEdition {
    /// An edition with its signature.
    pub fn new(governance_key: [u8; 32], file: String, signature: &SignatureBytes) -> Self {
        Self { governance_key, file, signature: signature.to_vec() }
    }

    /// The signature; `None` if it does not have 64 bytes.
    pub fn signature(&self) -> Option<SignatureBytes> {
        self.signature.as_slice().try_into().ok()
    }
}

/// Why a coordinator does not keep an enrolment file.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub enum EnrolmentRefusal {
    /// No invitation has this token.
    #[error(
        "this coordinator has no invitation with this token: it was cancelled, or is another consortium's; ask the \
         coordinator's operator for a new one"
    )]
    Unknown,
    /// The invitation has expired, unused.
    #[error("the invitation has expired; ask the coordinator's operator for a new one")]
    Expired,
    /// The invitation was used with another enrolment file.
    #[error(
        "the invitation was used before, with another enrolment file; if it was not by your organisation, tell the \
         coordinator's operator, and ask for a new one"
    )]
    Used,
    /// The enrolment file is not accepted.
    #[error("the enrolment file was rejected: {0}")]
    File(String),
    /// The file has another certificate than the connection.
    #[error(
        "the enrolment file has another certificate than the one with which this party connected; give the folder that the \
         file was made in"
    )]
    Certificate,
    /// The file has other roles than the invitation.
    #[error(
        "the enrolment file is for other roles than the invitation, which is for {invited}; ask for an invitation for the \
         roles of the file, or make new keys"
    )]
    Roles {
        /// The invitation's roles.
        invited: String,
    },
    /// A listed party has the name.
    #[error(
        "the consortium has another party with the name {name:?}; choose another name and make new keys; if they are new keys \
         of that party, send the enrolment file to the holder of the governance key, who replaces the old ones with `cloister \
         consortium rotate`"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A listed party has one of the keys.
    #[error(
        "the consortium lists one of the keys of the enrolment file for another party or name; make new keys with another \
         --identity"
    )]
    KeyTaken,
    /// The coordinator cannot keep the file now.
    #[error("the coordinator cannot keep the enrolment file at this time; tell its operator, and try again")]
    Unavailable,
}

impl EnrolmentAnswer {
    /// Why nothing was kept, if it was not.
    pub fn refusal(&self) -> Option<&EnrolmentRefusal> {
        match self {
            Self::Refused(why) => Some(why),
            Self::Kept(_) | Self::Listed(_) => None,
        }
    }

    /// The answer's bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a coordinator's answer.
    ///
    /// # Errors
    /// Anything but the canonical encoding of an answer (`WIRE-02`).
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(length: usize) -> EnrolmentRequest {
        EnrolmentRequest { token: InvitationToken::new([7; 16]), enrolment: "x".repeat(length) }
    }

    /// WIRE-02, WIRE-10
    #[test]
    fn a_request_is_read_as_it_was_written_and_no_larger_one_is() {
        let most = MAX_REQUEST_BYTES - 4 - 16 - 8;
        let bytes = request(most).encode().expect("the largest");
        assert_eq!(bytes.len(), MAX_REQUEST_BYTES);
        let read = EnrolmentRequest::decode(&bytes).expect("canonical");
        assert_eq!((read.token.bytes(), read.enrolment.len()), (&[7; 16], most));
        let too_large = RequestError::TooLarge { got: MAX_REQUEST_BYTES + 1 };
        assert_eq!(request(most + 1).encode().expect_err("too large"), too_large);
        assert_eq!(EnrolmentRequest::decode(&[&bytes[..], &[0]].concat()).expect_err("too large"), too_large);
        let small = request(3).encode().expect("small");
        let other = [&[2, 0, 0, 0], &small[4..]].concat();
        assert_eq!(EnrolmentRequest::decode(&other).expect_err("version"), RequestError::Version { got: 2 });
        let longer = [&small[..], &[0]].concat();
        assert!(matches!(EnrolmentRequest::decode(&longer), Err(RequestError::Encoding(_))));
    }

    #[test]
    fn a_request_does_not_print_its_token() {
        let printed = format!("{:?}", request(1));
        assert!(printed.contains("enrolment: \"x\"") && !printed.contains('7'), "{printed}");
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let receipt = Receipt { enrolment: Digest([1; 32]), kept_at: 5, consortium: "Test".into() };
        let edition = SignedEdition::new([2; 32], "file".into(), &[3; 64]);
        assert_eq!(edition.signature(), Some([3; 64]));
        for answer in [
            EnrolmentAnswer::Kept(receipt),
            EnrolmentAnswer::Listed(edition),
            EnrolmentAnswer::Refused(EnrolmentRefusal::File("why".into())),
        ] {
            assert_eq!(EnrolmentAnswer::decode(&answer.encode()), Ok(answer));
        }
        let short =
            SignedEdition { signature: vec![3; 63], ..SignedEdition::new([2; 32], String::new(), &[3; 64]) };
        assert_eq!(short.signature(), None);
    }
}
