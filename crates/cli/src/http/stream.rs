//! A connection as hyper wants it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How many bytes are read at a time. They are copied once, which costs nothing beside TLS, and needs no unsafe code.
const CHUNK: usize = 8 << 10;

/// A connection that fails if the other end takes nothing for some time.
pub(crate) struct HttpStream<S> {
    stream: S,
    /// How long the other end may take until there is room for more.
    write_within: Duration,
    /// Runs while there is no room.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> HttpStream<S> {
    pub(crate) fn new(stream: S, write_within: Duration) -> Self {
        Self { stream, write_within, stalled: None }
    }

    /// Passes on what came of an attempt to write, and ends attempts that take too long.
    fn limit<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let within = self.write_within;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for HttpStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; CHUNK];
        let most = CHUNK.min(cursor.remaining());
        let mut buffer = ReadBuf::new(&mut bytes[..most]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for HttpStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.limit(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.limit(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper::rt::Write;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    /// CTRL-04
    #[tokio::test]
    async fn a_program_that_takes_no_part_of_an_answer_is_given_up_and_a_slow_one_is_not() {
        let (near, mut far) = duplex(4);
        let within = Duration::from_millis(100);
        let mut stream = HttpStream::new(near, within);
        let mut write = async || poll_fn(|context| Pin::new(&mut stream).poll_write(context, b"abcd")).await;
        assert_eq!(write().await.expect("room"), 4);
        // Slower than the limit as a whole, and each part within it.
        for _ in 0..4 {
            let reading = async {
                sleep(within * 6 / 10).await;
                far.read_exact(&mut [0; 4]).await.expect("written");
            };
            let (written, ()) = tokio::join!(write(), reading);
            assert_eq!(written.expect("read in time"), 4);
        }
        assert_eq!(write().await.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
    }
}
