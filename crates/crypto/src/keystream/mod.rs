//! The generator of masks: AES-128 in counter mode, expanded and added to words in one pass (`MASK-05`).
//!
//! Construction: AES-128-CTR with a 128-bit big-endian counter; word `i` is bytes `4i` to `4i+3` of the key
//! stream, little-endian. Assumption: AES-128 is a pseudorandom permutation. The longest mask, of 2³² words,
//! takes 2³⁰ blocks under one key, which are told from random blocks with a probability of about 2⁻⁶⁹.
//!
//! Three kernels give the same words: VAES with 512-bit registers and AES-NI, chosen at run time by what the
//! processor has, and a portable one that the others are tested against.
//!
//! # Timing
//! Depends on the number of words alone: the instructions take constant time, and the portable kernel is
//! bit-sliced where the processor has no AES instructions.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Whether a mask is added or taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// Added: the self mask, and a pair mask at its lower member.
    Plus,
    /// Subtracted: a pair mask at its higher member, and masks that are taken off a sum.
    Minus,
}

impl Sign {
    /// The other sign.
    pub fn flipped(self) -> Self {
        match self {
            Self::Plus => Self::Minus,
            Self::Minus => Self::Plus,
        }
    }

    fn add(self, word: u32, mask: u32) -> u32 {
        match self {
            Self::Plus => word.wrapping_add(mask),
            Self::Minus => word.wrapping_sub(mask),
        }
    }
}

/// The key and the first counter block of a key stream.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct StreamSecret {
    /// The AES-128 key.
    key: [u8; 16],
    /// The first counter block, as a big-endian number.
    counter: u128,
}

impl StreamSecret {
    /// An AES-128 key and an initial counter block, one after the other.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let mut secret = Self { key: [0; 16], counter: 0 };
        secret.key.copy_from_slice(&bytes[..16]);
        let mut counter = Zeroizing::new([0; 16]);
        counter.copy_from_slice(&bytes[16..]);
        secret.counter = u128::from_be_bytes(*counter);
        secret
    }
}

impl std::fmt::Debug for StreamSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamSecret(…)")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Instructions {
    Portable,
    #[cfg(target_arch = "x86_64")]
    AesNi,
    #[cfg(target_arch = "x86_64")]
    Vaes512,
}

/// An implementation of the generator that this processor can run. Only [`Kernel::fastest`] and
/// [`Kernel::available`] return one with instructions that not every processor has, after a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel(Instructions);

impl Kernel {
    /// The kernel that every processor can run.
    pub const PORTABLE: Self = Self(Instructions::Portable);

    /// The fastest kernel that this processor can run.
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if x86::has_vaes512() {
                return Self(Instructions::Vaes512);
            }
            if x86::has_aes_ni() {
                return Self(Instructions::AesNi);
            }
        }
        Self::PORTABLE
    }

    /// All kernels that this processor can run, the portable one first.
    pub fn available() -> Vec<Self> {
        let mut kernels = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(x86::has_aes_ni().then_some(Self(Instructions::AesNi)));
            kernels.extend(x86::has_vaes512().then_some(Self(Instructions::Vaes512)));
        }
        kernels
    }

    /// The kernel's name in benchmarks and tests.
    pub fn name(self) -> &'static str {
        match self.0 {
            Instructions::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Instructions::AesNi => "aes-ni",
            #[cfg(target_arch = "x86_64")]
            Instructions::Vaes512 => "vaes-512",
        }
    }

    /// Adds the key stream to the words mod 2³², or subtracts it.
    pub fn apply(self, stream: &StreamSecret, sign: Sign, words: &mut [u32]) {
        match self.0 {
            Instructions::Portable => portable::apply(stream, sign, words),
            #[cfg(target_arch = "x86_64")]
            Instructions::AesNi => x86::apply_aes_ni(stream, sign, words),
            #[cfg(target_arch = "x86_64")]
            Instructions::Vaes512 => x86::apply_vaes512(stream, sign, words),
        }
    }
}

#[cfg(test)]
mod tests;
