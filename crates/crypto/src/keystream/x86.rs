//! The kernels for x86-64: AES-NI with eight blocks under way at a time, and VAES with eight registers of
//! four blocks.
//!
//! This is the one module of the workspace that may hold `unsafe`, for two things that the compiler cannot
//! check: that the processor has the instructions, which a [`Kernel`](super::Kernel) of them shows, and
//! unaligned loads and stores of whole registers, which go through references to arrays of exactly a
//! register's size. Everything is tested against the portable kernel, and runs under AddressSanitizer and
//! Valgrind by `cargo xtask memory`.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_add_epi32, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128,
    _mm_loadu_si128, _mm_set_epi8, _mm_set_epi64x, _mm_setzero_si128, _mm_shuffle_epi8, _mm_shuffle_epi32,
    _mm_slli_si128, _mm_storeu_si128, _mm_sub_epi32, _mm_xor_si128, _mm512_add_epi32, _mm512_add_epi64,
    _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_broadcast_i32x4, _mm512_loadu_si512,
    _mm512_set_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_storeu_si512, _mm512_sub_epi32,
    _mm512_xor_si512,
};

use zeroize::{Zeroize, Zeroizing};

use super::{Sign, StreamSecret};

/// Words of a block.
const BLOCK: usize = 4;
/// Words of a 512-bit register.
const WIDE: usize = 16;
/// Registers that are encrypted at a time: enough to hide the latency of an AES round.
const LANES: usize = 8;
/// Round keys of AES-128.
const ROUND_KEYS: usize = 11;

pub(super) fn has_aes_ni() -> bool {
    is_x86_feature_detected!("aes") && is_x86_feature_detected!("ssse3")
}

pub(super) fn has_vaes512() -> bool {
    // `avx512bw` has the shuffle of bytes.
    has_aes_ni()
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
}

pub(super) fn apply_aes_ni(stream: &StreamSecret, sign: Sign, words: &mut [u32]) {
    assert!(has_aes_ni(), "a kernel exists only where its instructions do");
    // SAFETY: the processor has the instructions, as was just checked.
    unsafe {
        match sign {
            Sign::Plus => narrow::<true>(stream, words),
            Sign::Minus => narrow::<false>(stream, words),
        }
    }
}

pub(super) fn apply_vaes512(stream: &StreamSecret, sign: Sign, words: &mut [u32]) {
    assert!(has_vaes512(), "a kernel exists only where its instructions do");
    // SAFETY: the processor has the instructions, as was just checked.
    unsafe {
        match sign {
            Sign::Plus => wide::<true>(stream, words),
            Sign::Minus => wide::<false>(stream, words),
        }
    }
}

/// The key schedule of AES-128 (FIPS 197, section 5.2).
#[target_feature(enable = "aes,ssse3")]
fn round_keys(key: &[u8; 16]) -> [__m128i; ROUND_KEYS] {
    let mut keys = [_mm_setzero_si128(); ROUND_KEYS];
    keys[0] = from_number(u128::from_le_bytes(*key));
    keys[1] = next_key::<0x01>(keys[0]);
    keys[2] = next_key::<0x02>(keys[1]);
    keys[3] = next_key::<0x04>(keys[2]);
    keys[4] = next_key::<0x08>(keys[3]);
    keys[5] = next_key::<0x10>(keys[4]);
    keys[6] = next_key::<0x20>(keys[5]);
    keys[7] = next_key::<0x40>(keys[6]);
    keys[8] = next_key::<0x80>(keys[7]);
    keys[9] = next_key::<0x1b>(keys[8]);
    keys[10] = next_key::<0x36>(keys[9]);
    keys
}

/// The next round key. The instruction takes the round constant as part of its code, so that it is a
/// parameter of the type.
#[target_feature(enable = "aes,ssse3")]
fn next_key<const CONSTANT: i32>(key: __m128i) -> __m128i {
    let assist = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<CONSTANT>(key));
    // After the two shifts each of the four words is the XOR of itself and all words before it.
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
    _mm_xor_si128(key, assist)
}

/// A register whose bytes are a number's, little-endian.
#[target_feature(enable = "aes,ssse3")]
fn from_number(number: u128) -> __m128i {
    _mm_set_epi64x((number >> 64) as i64, number as i64)
}

/// The shuffle that reverses a number's bytes, because counter blocks are big-endian.
#[target_feature(enable = "aes,ssse3")]
fn reversal() -> __m128i {
    _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
}

/// Applies the key stream with 128-bit registers. The sign is a constant, so that no loop tests it.
#[target_feature(enable = "aes,ssse3")]
fn narrow<const PLUS: bool>(stream: &StreamSecret, words: &mut [u32]) {
    let mut keys = round_keys(&stream.key);
    let mut counter = stream.counter;
    let (batches, rest) = words.as_chunks_mut::<{ BLOCK * LANES }>();
    for batch in batches {
        let masks = narrow_blocks::<LANES>(&keys, counter);
        counter = counter.wrapping_add(LANES as u128);
        let (places, _) = batch.as_chunks_mut::<BLOCK>();
        for (place, mask) in places.iter_mut().zip(masks) {
            add_narrow::<PLUS>(place, mask);
        }
    }
    let (places, tail) = rest.as_chunks_mut::<BLOCK>();
    for place in places {
        add_narrow::<PLUS>(place, narrow_blocks::<1>(&keys, counter)[0]);
        counter = counter.wrapping_add(1);
    }
    if !tail.is_empty() {
        // Loads and stores are of whole registers: a copy keeps them from memory beyond the slice. It holds
        // words before their mask, so that it is erased.
        let mut last = Zeroizing::new([0; BLOCK]);
        last[..tail.len()].copy_from_slice(tail);
        add_narrow::<PLUS>(&mut last, narrow_blocks::<1>(&keys, counter)[0]);
        tail.copy_from_slice(&last[..tail.len()]);
    }
    keys.zeroize();
}

/// The key stream's blocks from a counter on.
#[target_feature(enable = "aes,ssse3")]
fn narrow_blocks<const COUNT: usize>(keys: &[__m128i; ROUND_KEYS], counter: u128) -> [__m128i; COUNT] {
    let mut blocks = [_mm_setzero_si128(); COUNT];
    for (block, offset) in blocks.iter_mut().zip(0u128..) {
        let number = from_number(counter.wrapping_add(offset));
        *block = _mm_xor_si128(_mm_shuffle_epi8(number, reversal()), keys[0]);
    }
    // Round by round, not block by block: the rounds of one block wait for each other.
    for key in &keys[1..ROUND_KEYS - 1] {
        for block in &mut blocks {
            *block = _mm_aesenc_si128(*block, *key);
        }
    }
    for block in &mut blocks {
        *block = _mm_aesenclast_si128(*block, keys[ROUND_KEYS - 1]);
    }
    blocks
}

#[target_feature(enable = "aes,ssse3")]
fn add_narrow<const PLUS: bool>(words: &mut [u32; BLOCK], mask: __m128i) {
    let place: *mut __m128i = words.as_mut_ptr().cast();
    // SAFETY: four words are the register's sixteen bytes, and the instructions take any alignment.
    unsafe {
        let value = _mm_loadu_si128(place);
        let sum = if PLUS { _mm_add_epi32(value, mask) } else { _mm_sub_epi32(value, mask) };
        _mm_storeu_si128(place, sum);
    }
}

/// Applies the key stream with 512-bit registers.
#[target_feature(enable = "aes,ssse3,vaes,avx512f,avx512bw")]
fn wide<const PLUS: bool>(stream: &StreamSecret, words: &mut [u32]) {
    let mut narrow_keys = round_keys(&stream.key);
    let mut keys = [_mm512_setzero_si512(); ROUND_KEYS];
    // A wide register has four blocks, and each of them needs the same round keys.
    for (key, narrow) in keys.iter_mut().zip(&narrow_keys) {
        *key = _mm512_broadcast_i32x4(*narrow);
    }
    narrow_keys.zeroize();
    let mut counter = stream.counter;
    let (batches, rest) = words.as_chunks_mut::<{ WIDE * LANES }>();
    for batch in batches {
        let masks = wide_blocks::<LANES>(&keys, counter);
        counter = counter.wrapping_add((LANES * WIDE / BLOCK) as u128);
        let (places, _) = batch.as_chunks_mut::<WIDE>();
        for (place, mask) in places.iter_mut().zip(masks) {
            add_wide::<PLUS>(place, mask);
        }
    }
    let (places, tail) = rest.as_chunks_mut::<WIDE>();
    for place in places {
        add_wide::<PLUS>(place, wide_blocks::<1>(&keys, counter)[0]);
        counter = counter.wrapping_add((WIDE / BLOCK) as u128);
    }
    if !tail.is_empty() {
        // A copy, for the same reasons as with narrow registers.
        let mut last = Zeroizing::new([0; WIDE]);
        last[..tail.len()].copy_from_slice(tail);
        add_wide::<PLUS>(&mut last, wide_blocks::<1>(&keys, counter)[0]);
        tail.copy_from_slice(&last[..tail.len()]);
    }
    keys.zeroize();
}

/// The key stream's blocks from a counter on, four a register.
#[target_feature(enable = "aes,ssse3,vaes,avx512f,avx512bw")]
fn wide_blocks<const COUNT: usize>(keys: &[__m512i; ROUND_KEYS], counter: u128) -> [__m512i; COUNT] {
    let mut blocks = [_mm512_setzero_si512(); COUNT];
    for (block, register) in blocks.iter_mut().zip(0u128..) {
        let first = counter.wrapping_add(register * (WIDE / BLOCK) as u128);
        let number = _mm512_shuffle_epi8(four_numbers(first), _mm512_broadcast_i32x4(reversal()));
        *block = _mm512_xor_si512(number, keys[0]);
    }
    for key in &keys[1..ROUND_KEYS - 1] {
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, *key);
        }
    }
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, keys[ROUND_KEYS - 1]);
    }
    blocks
}

/// Four consecutive numbers. The register adds in lanes of 64 bits and does not carry between them. Such a
/// carry is rare, and then all numbers are computed one by one.
#[target_feature(enable = "aes,ssse3,vaes,avx512f,avx512bw")]
fn four_numbers(first: u128) -> __m512i {
    if first as u64 <= u64::MAX - 3 {
        let steps = _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0);
        return _mm512_add_epi64(_mm512_broadcast_i32x4(from_number(first)), steps);
    }
    let numbers = [0, 1, 2, 3].map(|offset| first.wrapping_add(offset));
    let (low, high) = (numbers.map(|number| number as i64), numbers.map(|number| (number >> 64) as i64));
    _mm512_set_epi64(high[3], low[3], high[2], low[2], high[1], low[1], high[0], low[0])
}

#[target_feature(enable = "aes,ssse3,vaes,avx512f,avx512bw")]
fn add_wide<const PLUS: bool>(words: &mut [u32; WIDE], mask: __m512i) {
    let place: *mut __m512i = words.as_mut_ptr().cast();
    // SAFETY: sixteen words are the register's sixty-four bytes, and the instructions take any alignment.
    unsafe {
        let value = _mm512_loadu_si512(place);
        let sum = if PLUS { _mm512_add_epi32(value, mask) } else { _mm512_sub_epi32(value, mask) };
        _mm512_storeu_si512(place, sum);
    }
}
