//! An open link: one stream of frames in each direction.

use std::fmt;
use std::net::SocketAddr;

use cloister_params::id::PartyId;

use crate::carrier::Carrier;
use crate::connection::{Connection, LinkStreams, ReceiveHalf, SendHalf};
use crate::counters::LinkCounters;
use crate::frame::{Assembly, AssemblyStep, END_OF_FRAMES, MAX_FRAME, MAX_REASON};
use crate::link_error::{ABORTED, CLOSED, LinkError, RECEIVED_ALL, printable};
use crate::loss::{Loss, StreamFault};
use crate::settings::TransportSettings;
use crate::uplink::UplinkCap;

/// Bytes that are written at once. Small pieces let a limit on the uplink take effect evenly.
const PIECE: usize = 16 << 10;

/// A link to a peer that both sides have accepted.
#[derive(Debug)]
pub struct Link {
    sender: FrameSender,
    receiver: FrameReceiver,
}

impl Link {
    pub(crate) fn new(streams: LinkStreams, peer: PartyId, settings: &TransportSettings) -> Self {
        let LinkStreams { connection, send, receive } = streams;
        let handle = LinkHandle { connection, peer, counters: LinkCounters::default() };
        let uplink = settings.uplink_bytes_per_second.map(UplinkCap::new);
        let receiver = FrameReceiver {
            stream: receive,
            assembly: Assembly::new(MAX_FRAME),
            closing_reason: None,
            handle: handle.clone(),
        };
        Self { sender: FrameSender { stream: send, uplink, mid_frame: false, handle }, receiver }
    }

    /// The party at the other end, by its certificate.
    pub fn peer(&self) -> PartyId {
        self.sender.handle.peer
    }

    /// What carries the link.
    pub fn carrier(&self) -> Carrier {
        self.sender.handle.carrier()
    }

    /// A handle that can watch and abort the link while tasks use its halves.
    pub fn handle(&self) -> LinkHandle {
        self.sender.handle.clone()
    }

    /// The two halves, for two tasks. Dropping a half ends its direction: the peer sees
    /// [`LinkError::Dropped`].
    pub fn split(self) -> (FrameSender, FrameReceiver) {
        (self.sender, self.receiver)
    }

    /// Closes the link, as [`FrameSender::close`] does.
    ///
    /// # Errors
    /// As [`FrameSender::close`].
    pub async fn close(self, reason: &str) -> Result<(), LinkError> {
        // The receiver must live until the end. Otherwise the peer would see the link as dropped.
        let (sender, _receiver) = self.split();
        sender.close(reason).await
    }
}

/// Watches and aborts a link. Clones are cheap and stand for the same link.
#[derive(Clone)]
pub struct LinkHandle {
    connection: Connection,
    peer: PartyId,
    counters: LinkCounters,
}

impl LinkHandle {
    /// The party at the other end, by its certificate.
    pub fn peer(&self) -> PartyId {
        self.peer
    }

    /// The peer's address, for logs, or that of the proxy in between. Over QUIC it may change while the link is open.
    pub fn address(&self) -> SocketAddr {
        self.connection.address()
    }

    /// What carries the link.
    pub fn carrier(&self) -> Carrier {
        self.connection.carrier()
    }

    /// How many bytes the link has carried.
    pub fn counters(&self) -> LinkCounters {
        self.counters.clone()
    }

    /// Ends the link at once, in both directions. The peer sees [`LinkError::ClosedByPeer`] with the reason.
    /// Frames in flight are lost.
    pub fn abort(&self, reason: &str) {
        self.connection.close(ABORTED, reason);
    }

    /// Waits until the link has ended, and returns why.
    pub async fn closed(&self) -> LinkError {
        LinkError::lost(self.peer, self.connection.closed().await)
    }

    fn failed(&self, fault: StreamFault) -> LinkError {
        let peer = self.peer;
        match fault {
            StreamFault::Dropped => LinkError::Dropped { peer },
            StreamFault::Lost(loss) => LinkError::lost(peer, loss),
            StreamFault::Other(detail) => LinkError::Transport { peer, detail },
        }
    }
}

impl fmt::Debug for LinkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkHandle").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The half of a link that sends.
#[derive(Debug)]
pub struct FrameSender {
    stream: SendHalf,
    uplink: Option<UplinkCap>,
    /// Whether a frame was begun and not finished, after which the peer would read garbage.
    mid_frame: bool,
    handle: LinkHandle,
}

impl FrameSender {
    /// Sends a frame. It waits while the peer or the network is slower than this side, or the uplink's limit
    /// is reached.
    ///
    /// It is not safe to cancel: a frame that was started must be finished. After a cancelled send every
    /// further send fails.
    ///
    /// # Errors
    /// [`LinkError::TooLongToSend`] if the frame is longer than [`MAX_FRAME`], [`LinkError::PartlySent`]
    /// after a send that was cancelled or failed, otherwise why the link has ended.
    pub async fn send(&mut self, frame: &[u8]) -> Result<(), LinkError> {
        let length = frame.len();
        if length > MAX_FRAME {
            return Err(LinkError::TooLongToSend { length });
        }
        self.check_whole()?;
        // Set while bytes of a frame may have left. It stays set if this future is dropped at an `await`.
        self.mid_frame = true;
        self.write(&(length as u32).to_be_bytes()).await?;
        self.write(frame).await?;
        self.mid_frame = false;
        Ok(())
    }

    /// Closes the link in good order: waits until the peer has acknowledged every frame, and then ends both
    /// directions. The peer receives the remaining frames and then `None`. What the peer still sends is lost.
    ///
    /// A peer that does not read delays this for as long as it is alive: use a timeout.
    ///
    /// # Errors
    /// [`LinkError::PartlySent`] after a send that was cancelled or failed, otherwise why the link ended
    /// before everything was acknowledged.
    pub async fn close(mut self, reason: &str) -> Result<(), LinkError> {
        self.check_whole()?;
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        // The reason is sent in the stream, which is repeated until it arrives. The packet that closes a
        // connection has it too, but may be lost.
        self.write(&END_OF_FRAMES).await?;
        self.write(reason.as_bytes()).await?;
        self.stream.finish();
        self.acknowledged().await?;
        self.handle.connection.close(CLOSED, reason);
        Ok(())
    }

    /// Waits until the peer has acknowledged everything, or has closed because it received everything.
    async fn acknowledged(&self) -> Result<(), LinkError> {
        match self.stream.acknowledged().await {
            // A peer that has everything may close before its last acknowledgement gets through.
            Err(StreamFault::Lost(Loss::ClosedByPeer { code, .. })) if code == RECEIVED_ALL.into() => Ok(()),
            outcome => outcome.map_err(|fault| self.handle.failed(fault)),
        }
    }

    fn check_whole(&self) -> Result<(), LinkError> {
        if self.mid_frame {
            return Err(LinkError::PartlySent { peer: self.handle.peer });
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        for piece in bytes.chunks(PIECE) {
            if let Some(uplink) = &mut self.uplink {
                uplink.admit(piece.len()).await;
            }
            let written = self.stream.write_all(piece).await;
            written.map_err(|fault| self.handle.failed(fault))?;
            self.handle.counters.add_sent(piece.len());
        }
        Ok(())
    }
}

/// The half of a link that receives.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: ReceiveHalf,
    assembly: Assembly,
    closing_reason: Option<String>,
    handle: LinkHandle,
}

impl FrameReceiver {
    /// The next frame; `None` after the peer has closed in good order, which closes this side's sender too.
    /// The peer cannot send further frames while earlier ones are not received.
    ///
    /// It is safe to cancel: the next call continues where this one stopped.
    ///
    /// # Errors
    /// [`LinkError::AnnouncedTooLong`] if the peer announces more than [`MAX_FRAME`], which also aborts the
    /// link; otherwise why the link has ended.
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            match self.assembly.step() {
                Ok(AssemblyStep::Frame(frame)) => return Ok(Some(frame)),
                Ok(AssemblyStep::End) => return self.end().await.map(|()| None),
                Ok(AssemblyStep::Read(most)) if self.read(most).await? => {}
                Ok(AssemblyStep::Read(_)) => {
                    return Err(LinkError::Dropped { peer: self.handle.peer });
                }
                Err(too_long) => return Err(self.abort_too_long(too_long.0)),
            }
        }
    }

    /// Why the peer closed, after [`FrameReceiver::recv`] has returned `None`. Control characters are
    /// escaped.
    pub fn closing_reason(&self) -> Option<&str> {
        self.closing_reason.as_deref()
    }

    /// Reads the reason for closing up to the end of the stream, and tells the peer that everything was
    /// received.
    async fn end(&mut self) -> Result<(), LinkError> {
        // A reason is there already if this is called again after the end.
        while self.closing_reason.is_none() && self.read(MAX_REASON).await? {
            if self.assembly.reason().len() > MAX_REASON {
                let detail = "it gave a reason for closing that is longer than allowed".to_owned();
                self.handle.abort(&detail);
                return Err(LinkError::Transport { peer: self.handle.peer, detail });
            }
        }
        self.closing_reason = Some(printable(self.assembly.reason()));
        self.handle.connection.close(RECEIVED_ALL, "");
        Ok(())
    }

    /// Reads at most this number of bytes; false at the end of the stream.
    async fn read(&mut self, most: usize) -> Result<bool, LinkError> {
        let bytes = self.stream.read(most).await.map_err(|fault| self.handle.failed(fault))?;
        self.handle.counters.add_received(bytes.len());
        self.assembly.extend(&bytes);
        Ok(!bytes.is_empty())
    }

    fn abort_too_long(&self, announced: usize) -> LinkError {
        self.handle
            .abort(&format!("a frame of {announced} bytes was announced, and {MAX_FRAME} is the limit"));
        LinkError::AnnouncedTooLong { peer: self.handle.peer, announced }
    }
}
