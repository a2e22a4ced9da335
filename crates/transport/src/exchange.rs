//! One frame on a connection that never becomes a link.

use crate::connection::{ReceiveHalf, SendHalf};
use crate::frame::{Assembly, AssemblyStep};
use crate::greeting::GreetingFailure;
use crate::loss::StreamFault;

/// Reads a frame of at most so many bytes. It is not safe to cancel.
pub(crate) async fn read_frame(stream: &mut ReceiveHalf, most: usize) -> Result<Vec<u8>, GreetingFailure> {
    let mut assembly = Assembly::new(most);
    loop {
        match assembly.step() {
            Ok(AssemblyStep::Frame(frame)) => return Ok(frame),
            Ok(AssemblyStep::Read(most)) => {
                let bytes = stream.read(most).await?;
                if bytes.is_empty() {
                    return Err(StreamFault::Dropped.into());
                }
                assembly.extend(&bytes);
            }
            Ok(AssemblyStep::End) => {
                return Err(GreetingFailure::Broken("the peer closed the connection without a frame"));
            }
            Err(_) => return Err(GreetingFailure::Broken("the peer announced more bytes than it may send")),
        }
    }
}

/// Writes a frame. It is not safe to cancel.
pub(crate) async fn write_frame(stream: &mut SendHalf, frame: &[u8]) -> Result<(), GreetingFailure> {
    let length = u32::try_from(frame.len()).map_err(|_| GreetingFailure::Broken("the frame is too long"))?;
    stream.write_all(&length.to_be_bytes()).await?;
    Ok(stream.write_all(frame).await?)
}
