//! The greeting on a new link: the party sends its number, and the coordinator repeats it.
//!
//! In TLS 1.3 a client learns only after its own handshake whether the server accepts its certificate; the
//! coordinator's answer tells it. The certificate alone decides who the peer is. The number is compared with
//! the roster, so that a mistake in the party's configuration shows at once.

use cloister_params::id::PartyId;
use quinn::{Connection, ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, WriteError};

pub(crate) type Streams = (SendStream, RecvStream);

/// How a greeting failed.
pub(crate) enum GreetingFailure {
    /// The connection is gone.
    Lost(ConnectionError),
    /// The peer broke the greeting, in words.
    Broken(&'static str),
}

/// The party's side: opens the link's stream, sends its number and waits for the answer.
pub(crate) async fn introduce(connection: &Connection, party: PartyId) -> Result<Streams, GreetingFailure> {
    let (mut send, mut receive) = connection.open_bi().await?;
    write_party(&mut send, party).await?;
    match read_party(&mut receive).await? {
        answer if answer == party => Ok((send, receive)),
        _ => {
            Err(GreetingFailure::Broken("the coordinator answered the greeting with another party's number"))
        }
    }
}

/// The coordinator's side: waits for the link's stream and the number that the party sends.
pub(crate) async fn await_introduction(
    connection: &Connection,
) -> Result<(Streams, PartyId), GreetingFailure> {
    let (send, mut receive) = connection.accept_bi().await?;
    let party = read_party(&mut receive).await?;
    Ok(((send, receive), party))
}

/// Writes a party's number.
pub(crate) async fn write_party(stream: &mut SendStream, party: PartyId) -> Result<(), GreetingFailure> {
    Ok(stream.write_all(&party.0.to_be_bytes()).await?)
}

async fn read_party(stream: &mut RecvStream) -> Result<PartyId, GreetingFailure> {
    let mut number = [0; 4];
    stream.read_exact(&mut number).await?;
    Ok(PartyId(u32::from_be_bytes(number)))
}

impl From<ConnectionError> for GreetingFailure {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(error)
    }
}

impl From<WriteError> for GreetingFailure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => Self::Lost(error),
            _ => Self::Broken("the peer stopped its stream in the middle of the greeting"),
        }
    }
}

impl From<ReadExactError> for GreetingFailure {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::ReadError(ReadError::ConnectionLost(error)) => Self::Lost(error),
            _ => Self::Broken("the peer ended its stream in the middle of the greeting"),
        }
    }
}
