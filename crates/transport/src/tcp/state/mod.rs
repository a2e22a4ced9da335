//! What a link over TCP has queued in each direction. It does no IO.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::loss::{Loss, StreamFault};
use crate::tcp::record::{MOST_DATA, Record, RecordFault};

/// How many bytes of the stream may wait here for the network. What the peer has not read waits there.
const MOST_OUTGOING: usize = 256 << 10;

/// How many bytes of memory a direction keeps while nothing waits in it, at most.
const MOST_IDLE: usize = 1 << 20;

/// The peer gets credits again whenever it has used up this part of them.
const CREDIT_STEPS: usize = 32;

/// How far a sign is that this side sends once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    NotDue,
    Due,
    Sent,
}

impl Sign {
    fn set_due(&mut self) {
        if *self == Self::NotDue {
            *self = Self::Due;
        }
    }

    /// Whether it must be sent now; it counts as sent from then on.
    fn take(&mut self) -> bool {
        let is_due = *self == Self::Due;
        if is_due {
            *self = Self::Sent;
        }
        is_due
    }
}

#[derive(Debug)]
struct Outgoing {
    bytes: VecDeque<u8>,
    /// How many bytes the peer lets this side send.
    credit: usize,
    end: Sign,
    /// Whether the peer says that everything arrived.
    acknowledged: bool,
    /// Whether the peer reads no more.
    stopped: bool,
}

#[derive(Debug)]
struct Incoming {
    /// Has arrived, and the program has not read it.
    bytes: VecDeque<u8>,
    /// How many bytes the peer may still send.
    allowance: usize,
    /// After how many bytes that the program has read the peer gets credits.
    credit_step: usize,
    /// How many bytes the program has read since the peer last got credits.
    read: usize,
    ended: bool,
    receipt: Sign,
    /// Whether the system has the receipt.
    is_receipt_written: bool,
    stop: Sign,
}

/// Both directions of a link.
#[derive(Debug)]
pub(super) struct State {
    outgoing: Outgoing,
    incoming: Incoming,
    /// The code and the reason with which this side ends the link.
    closing: Option<(u32, Vec<u8>)>,
    loss: Option<Loss>,
}

impl State {
    /// A new link, on which each side starts with credits for so many bytes.
    pub(super) fn new(window: u32) -> Self {
        let window = window as usize;
        let outgoing = Outgoing {
            bytes: VecDeque::new(),
            credit: window,
            end: Sign::NotDue,
            acknowledged: false,
            stopped: false,
        };
        let incoming = Incoming {
            bytes: VecDeque::new(),
            allowance: window,
            credit_step: window / CREDIT_STEPS,
            read: 0,
            ended: false,
            receipt: Sign::NotDue,
            is_receipt_written: false,
            stop: Sign::NotDue,
        };
        Self { outgoing, incoming, closing: None, loss: None }
    }

    /// Queues as many of these bytes as there is room for; returns how many.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<usize, StreamFault> {
        self.check_writable()?;
        let taken = bytes.len().min(MOST_OUTGOING - self.outgoing.bytes.len());
        self.outgoing.bytes.extend(&bytes[..taken]);
        Ok(taken)
    }

    /// Nothing more will be sent.
    pub(super) fn finish(&mut self) {
        self.outgoing.end.set_due();
    }

    /// Whether the peer has everything that was sent, the end included.
    pub(super) fn is_acknowledged(&self) -> Result<bool, StreamFault> {
        if self.outgoing.acknowledged {
            return Ok(true);
        }
        self.check_writable().map(|()| false)
    }

    fn check_writable(&self) -> Result<(), StreamFault> {
        match (&self.loss, self.outgoing.stopped) {
            (Some(loss), _) => Err(StreamFault::Lost(loss.clone())),
            (None, true) => Err(StreamFault::Dropped),
            (None, false) => Ok(()),
        }
    }

    /// At most so many bytes that have arrived: empty at the end of the stream, `None` if they must be awaited.
    pub(super) fn read(&mut self, most: usize) -> Result<Option<Vec<u8>>, Loss> {
        if self.loss == Some(Loss::ClosedHere) {
            return Err(Loss::ClosedHere);
        }
        let (front, _) = self.incoming.bytes.as_slices();
        // What arrived before the end of the link is read first.
        if !front.is_empty() {
            let bytes = front[..front.len().min(most)].to_vec();
            self.incoming.bytes.drain(..bytes.len());
            // The memory of a program that read late is given back.
            if self.incoming.bytes.is_empty() && self.incoming.bytes.capacity() > MOST_IDLE {
                self.incoming.bytes = VecDeque::new();
            }
            self.incoming.read += bytes.len();
            return Ok(Some(bytes));
        }
        match &self.loss {
            // Only when the receipt is on its way: a program that learns the end may end at once, and the peer would
            // never know that everything arrived.
            _ if self.incoming.ended && (self.incoming.is_receipt_written || self.loss.is_some()) => {
                Ok(Some(Vec::new()))
            }
            Some(loss) => Err(loss.clone()),
            None => Ok(None),
        }
    }

    /// Nothing more will be read.
    pub(super) fn stop(&mut self) {
        self.incoming.bytes = VecDeque::new();
        if !self.incoming.ended {
            self.incoming.stop.set_due();
        }
    }

    /// Ends the link from this side, unless it has ended. `loss` is what this side's program sees.
    pub(super) fn close(&mut self, code: u32, reason: &[u8], loss: Loss) {
        if self.loss.is_none() {
            self.loss = Some(loss);
            self.closing = Some((code, reason.to_vec()));
        }
    }

    /// Notes why the link has ended, unless it has ended before.
    pub(super) fn lose(&mut self, loss: Loss) {
        self.loss.get_or_insert(loss);
    }

    /// The record with which this side ends the link, if it does.
    pub(super) fn closing_record(&self) -> Option<Record> {
        let (code, reason) = self.closing.clone()?;
        Some(Record::Close { code, reason })
    }

    /// A record has come from the peer, other than [`Record::Open`] and [`Record::Close`].
    pub(super) fn receive(&mut self, record: Record) -> Result<(), RecordFault> {
        match record {
            Record::Data(bytes) => return self.receive_data(&bytes),
            Record::Credit(more) => self.outgoing.credit = self.outgoing.credit.saturating_add(more as usize),
            Record::Heartbeat => {}
            Record::End if self.incoming.ended => return Err(RecordFault("a second end".to_owned())),
            Record::End => {
                self.incoming.ended = true;
                self.incoming.receipt.set_due();
            }
            Record::Received if self.outgoing.end == Sign::Sent => self.outgoing.acknowledged = true,
            Record::Received => return Err(RecordFault("a receipt for an end that was not sent".to_owned())),
            Record::Stop => {
                self.outgoing.stopped = true;
                self.outgoing.bytes = VecDeque::new();
            }
            Record::Open(_) | Record::Close { .. } => {
                return Err(RecordFault("a second opening".to_owned()));
            }
        }
        Ok(())
    }

    /// WIRE-07: memory does not grow beyond the window, whatever the peer sends.
    fn receive_data(&mut self, bytes: &[u8]) -> Result<(), RecordFault> {
        let incoming = &mut self.incoming;
        if incoming.ended {
            return Err(RecordFault("data after the end".to_owned()));
        }
        let allowance = incoming.allowance.checked_sub(bytes.len());
        incoming.allowance =
            allowance.ok_or_else(|| RecordFault("more data than it had credits for".to_owned()))?;
        // What was on its way when this side stopped reading is dropped.
        if incoming.stop == Sign::NotDue {
            incoming.bytes.extend(bytes);
        }
        Ok(())
    }

    /// The system has everything that was written so far.
    pub(super) fn note_flushed(&mut self) {
        self.incoming.is_receipt_written = self.incoming.receipt == Sign::Sent;
    }

    /// Appends what this side has to send now, until about so many bytes are in `out`.
    pub(super) fn write_records(&mut self, most: usize, out: &mut BytesMut) {
        let (outgoing, incoming) = (&mut self.outgoing, &mut self.incoming);
        if incoming.receipt.take() {
            Record::Received.encode(out);
        }
        if incoming.stop.take() {
            Record::Stop.encode(out);
        }
        if incoming.read >= incoming.credit_step {
            Record::Credit(incoming.read as u32).encode(out);
            incoming.allowance += std::mem::take(&mut incoming.read);
        }
        while out.len() < most {
            let length = outgoing.bytes.len().min(outgoing.credit).min(MOST_DATA);
            if length == 0 {
                break;
            }
            let data = outgoing.bytes.drain(..length).collect::<Vec<u8>>();
            outgoing.credit -= length;
            Record::Data(BytesMut::from(&data[..])).encode(out);
        }
        if outgoing.bytes.is_empty() && outgoing.end.take() {
            Record::End.encode(out);
        }
    }
}

#[cfg(test)]
mod tests;
