//! SHA-256 with a domain for each use, so that a digest made for one purpose fits no other (`HASH-01`).

use cloister_params::consortium::PublicBytes;
use cloister_params::id::Digest;
use ring::digest::{Context, SHA256, SHA512};

/// What a digest is for. The tag is hashed first, after its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Domain {
    /// The consortium file's bytes. The digest names the epoch.
    Epoch,
    /// The task file's bytes.
    Task,
    /// The canonical body of a signed statement.
    Body,
    /// The parameters of a block, as little-endian 32-bit floats.
    Parameters,
    /// The model, over its blocks' digests.
    Model,
    /// A sealed letter's bytes. The dealer's announcement lists the digest.
    Letter,
    /// A masked block as uploaded; a leaf of the tree whose root the member signs.
    MaskedBlock,
    /// An opened sum, as packed words.
    Sum,
    /// The seed of a block's late sketches.
    Late,
    /// What a block was opened over.
    Opening,
    /// The seed of a task's sketches.
    Projection,
    /// The body of an enrolment; people compare a part of the digest.
    Enrolment,
    /// The governance key; people compare a part of the digest.
    GovernanceKey,
    /// The text of an invitation; a part of the digest is its checksum.
    Invitation,
    /// An invitation's token; the coordinator stores the digest alone.
    InvitationToken,
}

impl Domain {
    fn tag(self) -> &'static [u8] {
        match self {
            Self::Epoch => b"cloister/v1/epoch",
            Self::Task => b"cloister/v1/task",
            Self::Body => b"cloister/v1/body",
            Self::Parameters => b"cloister/v1/parameters",
            Self::Model => b"cloister/v1/model",
            Self::Letter => b"cloister/v1/letter",
            Self::MaskedBlock => b"cloister/v1/masked-block",
            Self::Sum => b"cloister/v1/sum",
            Self::Late => b"cloister/v1/late",
            Self::Opening => b"cloister/v1/opening",
            Self::Projection => b"cloister/v1/projection",
            Self::Enrolment => b"cloister/v1/enrolment",
            Self::GovernanceKey => b"cloister/v1/governance-key",
            Self::Invitation => b"cloister/v1/invitation",
            Self::InvitationToken => b"cloister/v1/invitation-token",
        }
    }
}

/// `SHA-256(len(tag):u8 ‖ tag ‖ parts…)`. All parts but the last must have a fixed length, so that their
/// borders are unambiguous.
pub fn digest(domain: Domain, parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    let tag = domain.tag();
    // The length first: otherwise one tag with the beginning of its parts could read as a longer tag.
    context.update(&[tag.len() as u8]);
    context.update(tag);
    for part in parts {
        context.update(part);
    }
    Digest(into_array(context.finish().as_ref()))
}

/// The seed of the projections with which sketches for a task are made (`PLAN-15`). It follows from the task,
/// so that no coordinator can choose another one in each round and collect further projections of one
/// member's update.
pub fn projection_seed(task: Digest) -> Digest {
    digest(Domain::Projection, &[&task.0])
}

/// The id of a verifier key of c2sp.org/signed-note: the first four bytes of SHA-256 over
/// `name ‖ 0x0A ‖ signature type ‖ public key`. Untagged, because that specification defines it. It only tells keys
/// apart: it is short, so anybody can make another key with the same id.
pub fn note_key_id(name: &str, signature_type: u8, key: PublicBytes) -> [u8; 4] {
    let digest = plain(&[name.as_bytes(), &[b'\n', signature_type], &key.0]);
    [digest[0], digest[1], digest[2], digest[3]]
}

/// SHA-512 over a tag and parts, of which all but the last must have a fixed length, as in [`digest`]. A
/// scalar that must be uniform needs 64 bytes: reducing 32 bytes would favour small scalars.
pub(crate) fn wide(tag: &[u8], parts: &[&[u8]]) -> [u8; 64] {
    let mut context = Context::new(&SHA512);
    context.update(&[tag.len() as u8]);
    context.update(tag);
    for part in parts {
        context.update(part);
    }
    into_array(context.finish().as_ref())
}

/// SHA-256 over parts without a tag, for RFC 6962 trees, whose hashes have domain bytes already.
pub(crate) fn plain(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    into_array(context.finish().as_ref())
}

fn into_array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HASH-01: the expected value is that of `printf '\x11cloister/v1/epochabc' | sha256sum`.
    #[test]
    fn a_digest_is_sha_256_over_tag_and_parts() {
        let expected = "d037582ddcaffb54e53b97f6cbb03512f20a94c50a99bf8a269a1eafa99dd0fd";
        assert_eq!(digest(Domain::Epoch, &[b"ab", b"c"]).to_string(), expected);
        assert_ne!(digest(Domain::Body, &[b"abc"]), digest(Domain::Epoch, &[b"abc"]));
    }

    /// PLAN-15: the expected value is that of `(printf '\x16cloister/v1/projection'; printf '\x07%.0s'
    /// {1..32}) | sha256sum`.
    #[test]
    fn a_task_has_one_projection() {
        let expected = "1e022232bb3f4d696c4c69c91fe1234ffbc159aaf076860295ea11c13b64ce9d";
        assert_eq!(projection_seed(Digest([7; 32])).to_string(), expected);
        assert_ne!(projection_seed(Digest([8; 32])), projection_seed(Digest([7; 32])));
    }
}
