//! The portable kernel: the key stream is made a chunk at a time, then added.

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use zeroize::{Zeroize, Zeroizing};

use super::{Sign, StreamSecret};

/// Words that are expanded at a time. They are few enough to stay in the first-level cache.
const CHUNK_WORDS: usize = 1024;

pub(super) fn apply(secret: &StreamSecret, sign: Sign, words: &mut [u32]) {
    let counter = Zeroizing::new(secret.counter.to_be_bytes());
    // References: a converted key would be a copy that nobody erases.
    let mut cipher = Ctr128BE::<Aes128>::new((&secret.key).into(), (&*counter).into());
    let mut stream = Zeroizing::new([0u8; 4 * CHUNK_WORDS]);
    for chunk in words.chunks_mut(CHUNK_WORDS) {
        let stream = &mut stream[..4 * chunk.len()];
        // The cipher adds its key stream to the buffer by XOR, so that zeros leave the key stream itself.
        stream.zeroize();
        cipher.apply_keystream(stream);
        let (masks, _) = stream.as_chunks::<4>();
        for (word, mask) in chunk.iter_mut().zip(masks) {
            *word = sign.add(*word, u32::from_le_bytes(*mask));
        }
    }
}
