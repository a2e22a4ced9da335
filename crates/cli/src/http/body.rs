//! Bodies of requests and answers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf};

/// How many bytes of a stream are sent at a time.
const CHUNK: usize = 8 << 10;

/// A body to send.
pub(crate) enum MessageBody {
    /// All of it. Empty after it was taken.
    Whole(Bytes),
    /// What somebody writes at the other end, until it is closed. If the connection breaks, this end is.
    Stream(DuplexStream),
}

impl Body for MessageBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let stream = match self.get_mut() {
            Self::Whole(bytes) => {
                let whole = std::mem::take(bytes);
                return Poll::Ready((!whole.is_empty()).then(|| Ok(Frame::data(whole))));
            }
            Self::Stream(stream) => stream,
        };
        let mut bytes = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        let data = buffer.filled();
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(Bytes::copy_from_slice(data)))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyFault {
    /// It is longer than was allowed.
    TooLong,
    /// The connection broke.
    Broken,
}

/// The next bytes of a body; `None` at its end.
pub(crate) async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, BodyFault> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(BodyFault::Broken),
            // Trailers say nothing here.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A whole body of at most so many bytes. What it announces is looked at first, so that no byte of a longer one is read.
pub(crate) async fn read_body(mut body: Incoming, most: usize) -> Result<Vec<u8>, BodyFault> {
    if body.size_hint().lower() > most as u64 {
        return Err(BodyFault::TooLong);
    }
    let mut whole = Vec::new();
    while let Some(data) = next_data(&mut body).await? {
        if data.len() > most - whole.len() {
            return Err(BodyFault::TooLong);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}
