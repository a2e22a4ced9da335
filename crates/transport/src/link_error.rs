//! Why a link has ended.

use cloister_params::id::PartyId;
use thiserror::Error;

use crate::frame::MAX_FRAME;
use crate::loss::Loss;

/// Sent when a side drops a link; over QUIC, by QUIC itself.
pub(crate) const DROPPED: u32 = 0;
/// Sent when a side closes in good order.
pub(crate) const CLOSED: u32 = 1;
/// Sent when a side has received everything that the other one sent before closing.
pub(crate) const RECEIVED_ALL: u32 = 4;
/// Sent when a side ends a link at once, with a reason.
pub(crate) const ABORTED: u32 = 2;
/// Sent when the coordinator rejects a greeting.
pub(crate) const REFUSED: u32 = 3;

/// Why a frame could not be sent or received.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LinkError {
    /// Nothing has come from the peer for the whole idle timeout, its program has ended, or a firewall cut the link.
    #[error(
        "{peer} is gone: nothing came from it for the whole idle timeout, its program ended or restarted, or a firewall \
         or proxy cut the link; check its process and network"
    )]
    Vanished {
        /// The peer.
        peer: PartyId,
    },
    /// The peer ended the link and said why.
    #[error("{peer} closed the link: {reason}")]
    ClosedByPeer {
        /// The peer.
        peer: PartyId,
        /// The peer's words, with control characters escaped.
        reason: String,
    },
    /// The peer dropped the link, or its half of it, without closing it.
    #[error("{peer} dropped the link without closing it; its log should say why")]
    Dropped {
        /// The peer.
        peer: PartyId,
    },
    /// The link is closed: this side did it, or has received the peer's last frame.
    #[error("the link to {peer} is already closed")]
    AlreadyClosed {
        /// The peer.
        peer: PartyId,
    },
    /// The peer broke the framing. No memory was allocated for the frame.
    #[error(
        "{peer} announced a frame of {announced} bytes, and {MAX_FRAME} is the limit; it runs another \
         version, or is malicious"
    )]
    AnnouncedTooLong {
        /// The peer, whose fault it is.
        peer: PartyId,
        /// The length that it announced, in bytes.
        announced: usize,
    },
    /// The caller's frame is too long. Nothing was sent, and the link stays usable.
    #[error("a frame of {length} bytes cannot be sent, since {MAX_FRAME} is the limit; split it")]
    TooLongToSend {
        /// The frame's length, in bytes.
        length: usize,
    },
    /// The caller cancelled a send, or continued after one that failed.
    #[error(
        "an earlier frame to {peer} was only partly sent, because its send was cancelled or failed; drop \
         this link and connect again"
    )]
    PartlySent {
        /// The peer.
        peer: PartyId,
    },
    /// QUIC, TLS or the records over TCP have a fault, or the peer broke a rule of theirs.
    #[error("the link to {peer} failed: {detail}")]
    Transport {
        /// The peer.
        peer: PartyId,
        /// What the fault is.
        detail: String,
    },
}

impl LinkError {
    /// The reason behind a connection that was lost.
    pub(crate) fn lost(peer: PartyId, loss: Loss) -> Self {
        match loss {
            Loss::Silent | Loss::Cut => Self::Vanished { peer },
            Loss::ClosedHere => Self::AlreadyClosed { peer },
            Loss::ClosedByPeer { code, reason } => Self::closed(peer, code, &reason),
            other => Self::Transport { peer, detail: printable(other.to_string().as_bytes()) },
        }
    }

    fn closed(peer: PartyId, code: u64, reason: &[u8]) -> Self {
        match u32::try_from(code) {
            Ok(DROPPED) => Self::Dropped { peer },
            Ok(RECEIVED_ALL) => Self::AlreadyClosed { peer },
            _ => Self::ClosedByPeer { peer, reason: printable(reason) },
        }
    }
}

/// A peer's words with control characters escaped, so that they cannot command a terminal or forge a log
/// line.
pub fn printable(words: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(words).chars() {
        match commands_terminals(c) {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    text
}

/// Whether a terminal does something else with a character than showing it: control characters, and
/// characters that change the direction of the text that follows.
pub fn commands_terminals(c: char) -> bool {
    const TURNS: [char; 12] = [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
        '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
    ];
    c.is_control() || TURNS.contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_words_cannot_command_a_terminal() {
        assert_eq!(printable("Zürich: \"done\"\n\u{1b}[2J".as_bytes()), "Zürich: \"done\"\\n\\u{1b}[2J");
        assert_eq!(printable(&[b'a', 0xff]), "a\u{fffd}");
        assert_eq!(printable("\u{9b}2J\u{202e}".as_bytes()), "\\u{9b}2J\\u{202e}");
    }
}
