//! The greeting on a new link: the party sends its number, and the coordinator repeats it.
//!
//! In TLS 1.3 a client learns only after its own handshake whether the server accepts its certificate; the
//! coordinator's answer tells it. The certificate alone decides who the peer is. The number is compared with
//! the roster, so that a mistake in the party's configuration shows at once.

use cloister_params::id::PartyId;

use crate::connection::{LinkStreams, ReceiveHalf, SendHalf};
use crate::loss::{Loss, StreamFault};

/// How a greeting failed.
pub(crate) enum GreetingFailure {
    /// The connection is gone.
    Lost(Loss),
    /// The peer broke the greeting, in words.
    Broken(&'static str),
}

/// The party's side: sends its number and waits for the answer.
pub(crate) async fn introduce(streams: &mut LinkStreams, party: PartyId) -> Result<(), GreetingFailure> {
    write_party(&mut streams.send, party).await?;
    match read_party(&mut streams.receive).await? {
        answer if answer == party => Ok(()),
        _ => {
            Err(GreetingFailure::Broken("the coordinator answered the greeting with another party's number"))
        }
    }
}

/// Writes a party's number.
pub(crate) async fn write_party(stream: &mut SendHalf, party: PartyId) -> Result<(), GreetingFailure> {
    Ok(stream.write_all(&party.0.to_be_bytes()).await?)
}

/// Reads a party's number. It is not safe to cancel.
pub(crate) async fn read_party(stream: &mut ReceiveHalf) -> Result<PartyId, GreetingFailure> {
    Ok(PartyId(u32::from_be_bytes(read_array(stream).await?)))
}

/// Reads exactly so many bytes. It is not safe to cancel.
pub(crate) async fn read_array<const N: usize>(stream: &mut ReceiveHalf) -> Result<[u8; N], GreetingFailure> {
    let mut array = [0; N];
    let mut length = 0;
    while length < array.len() {
        let bytes = stream.read(array.len() - length).await?;
        if bytes.is_empty() {
            return Err(StreamFault::Dropped.into());
        }
        array[length..][..bytes.len()].copy_from_slice(&bytes);
        length += bytes.len();
    }
    Ok(array)
}

impl From<Loss> for GreetingFailure {
    fn from(loss: Loss) -> Self {
        Self::Lost(loss)
    }
}

impl From<StreamFault> for GreetingFailure {
    fn from(fault: StreamFault) -> Self {
        match fault {
            StreamFault::Lost(loss) => Self::Lost(loss),
            _ => Self::Broken("the peer ended its stream in the middle of the greeting"),
        }
    }
}
