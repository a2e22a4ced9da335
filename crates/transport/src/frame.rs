//! Framing: four bytes of length, most significant first, and then as many bytes.

/// The most bytes of a frame: a chunk of 8 MiB and 64 KiB for what describes it.
pub const MAX_FRAME: usize = (8 << 20) + (64 << 10);

/// Sent instead of a length when a side closes in good order. The reason follows, and then the end of the
/// stream.
/// As a length it would be 4 GiB - 1, which is far above [`MAX_FRAME`].
pub(crate) const END_OF_FRAMES: [u8; HEADER] = [0xff; HEADER];

/// The most bytes of a reason for closing.
pub(crate) const MAX_REASON: usize = 1 << 10;

/// Bytes of a frame's length.
pub(crate) const HEADER: usize = 4;

/// A frame that is being received. It holds everything received so far, so that a receive can be cancelled
/// and continued.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// The most bytes of a frame.
    most: usize,
    header: Vec<u8>,
    body: Vec<u8>,
}

/// What an [`Assembly`] needs next, or has.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum AssemblyStep {
    /// At most this many bytes more belong to the frame.
    Read(usize),
    /// The frame is complete.
    Frame(Vec<u8>),
    /// No frame follows, only the reason.
    End,
}

/// The peer announced a frame of this many bytes, which is more than it may send.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct TooLong(pub(crate) usize);

impl Assembly {
    /// For frames of at most so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, header: Vec::new(), body: Vec::new() }
    }

    /// What to do next.
    pub(crate) fn step(&mut self) -> Result<AssemblyStep, TooLong> {
        let Ok(header) = <[u8; HEADER]>::try_from(self.header.as_slice()) else {
            return Ok(AssemblyStep::Read(HEADER - self.header.len()));
        };
        if header == END_OF_FRAMES {
            return Ok(AssemblyStep::End);
        }
        match u32::from_be_bytes(header) as usize {
            length if length > self.most => Err(TooLong(length)),
            length if length == self.body.len() => Ok(AssemblyStep::Frame(self.take())),
            length => Ok(AssemblyStep::Read(length - self.body.len())),
        }
    }

    /// Adds received bytes: no more than the last [`AssemblyStep::Read`] allowed.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let part = if self.header.len() < HEADER { &mut self.header } else { &mut self.body };
        // Never reserved by the announced length, which costs the peer four bytes.
        part.extend_from_slice(bytes);
    }

    /// What has been received of the reason, after [`AssemblyStep::End`].
    pub(crate) fn reason(&self) -> &[u8] {
        &self.body
    }

    fn take(&mut self) -> Vec<u8> {
        self.header.clear();
        std::mem::take(&mut self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assembles_byte_by_byte() {
        let mut assembly = Assembly::new(MAX_FRAME);
        let stream = [0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'o', b'k'];
        let mut frames = Vec::new();
        for byte in stream {
            assembly.extend(&[byte]);
            if let Ok(AssemblyStep::Frame(frame)) = assembly.step() {
                frames.push(frame);
            }
        }
        assert_eq!(frames, [vec![7, 8], vec![]]);
        assert_eq!(assembly.step(), Ok(AssemblyStep::End));
        assert_eq!(assembly.reason(), b"ok");
    }

    #[test]
    fn refuses_an_announced_length_before_any_memory_is_taken() {
        let mut assembly = Assembly::new(MAX_FRAME);
        assembly.extend(&(MAX_FRAME as u32 + 1).to_be_bytes());
        assert_eq!(assembly.step(), Err(TooLong(MAX_FRAME + 1)));
        assert_eq!(assembly.body.capacity(), 0);
    }

    #[test]
    fn memory_grows_with_what_came_and_not_with_what_was_announced() {
        let mut assembly = Assembly::new(MAX_FRAME);
        assembly.extend(&(MAX_FRAME as u32).to_be_bytes());
        assert_eq!(assembly.step(), Ok(AssemblyStep::Read(MAX_FRAME)));
        assembly.extend(&[1; 1000]);
        assert_eq!(assembly.step(), Ok(AssemblyStep::Read(MAX_FRAME - 1000)));
        assert!(assembly.body.capacity() <= 2000);
    }
}
