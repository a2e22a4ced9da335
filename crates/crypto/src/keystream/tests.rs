use proptest::prelude::*;

use super::*;

/// The key and first block of NIST SP 800-38A, F.5.1 (CTR-AES128.Encrypt).
const NIST: [u8; 32] = [
    0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c, 0xf0,
    0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
];

/// Words before the mask.
fn pattern(length: usize) -> Vec<u32> {
    (0..length as u32).map(|word| word.wrapping_mul(0x9e37_79b9)).collect()
}

/// Words from an offset on, masked; those before it must stay.
fn applied(kernel: Kernel, stream: &StreamSecret, sign: Sign, offset: usize, length: usize) -> Vec<u32> {
    let mut words = pattern(offset + length);
    kernel.apply(stream, sign, &mut words[offset..]);
    assert_eq!(words[..offset], pattern(offset), "{} wrote in front of the words", kernel.name());
    words
}

fn assert_kernels_agree(stream: &StreamSecret, offset: usize, length: usize) {
    for sign in [Sign::Plus, Sign::Minus] {
        let expected = applied(Kernel::PORTABLE, stream, sign, offset, length);
        for kernel in Kernel::available() {
            let got = applied(kernel, stream, sign, offset, length);
            assert!(got == expected, "{}: {length} words at {offset}, {sign:?}", kernel.name());
        }
    }
}

/// MASK-05
#[test]
fn every_kernel_gives_the_key_stream_of_nist() {
    // The encrypted counter blocks of the same example ("Output Block").
    let stream = [
        0xec, 0x8c, 0xdf, 0x73, 0x98, 0x60, 0x7c, 0xb0, 0xf2, 0xd2, 0x16, 0x75, 0xea, 0x9e, 0xa1, 0xe4, 0x36,
        0x2b, 0x7c, 0x3c, 0x67, 0x73, 0x51, 0x63, 0x18, 0xa0, 0x77, 0xd7, 0xfc, 0x50, 0x73, 0xae,
    ];
    let (expected, _) = stream.as_chunks::<4>();
    let expected: Vec<u32> = expected.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    for kernel in Kernel::available() {
        let mut words = [0; 8];
        kernel.apply(&StreamSecret::new(&NIST), Sign::Plus, &mut words);
        assert_eq!(words[..], expected, "{}", kernel.name());
    }
}

/// MASK-05: lengths around every register and batch, at every alignment of a register.
#[test]
fn kernels_agree_on_every_length_and_offset() {
    let stream = StreamSecret::new(&NIST);
    for length in 0..=300 {
        for offset in 0..16 {
            assert_kernels_agree(&stream, offset, length);
        }
    }
}

/// MASK-05: the counter has 128 bits; its carries are where a register's lanes end.
#[test]
fn kernels_agree_where_the_counter_carries() {
    for high in [0, 7, u64::MAX] {
        for below in 0..80 {
            let counter = u128::from(high) << 64 | u128::from(u64::MAX - below);
            let bytes = [[5; 16], counter.to_be_bytes()].concat();
            let bytes: &[u8; 32] = bytes.as_slice().try_into().expect("sixteen and sixteen");
            assert_kernels_agree(&StreamSecret::new(bytes), 1, 333);
        }
    }
}

/// MASK-06: what is kept of a word in a narrower ring is the same too.
#[test]
fn kernels_agree_in_every_ring() {
    use cloister_params::fixed::RingWidth;
    let stream = StreamSecret::new(&NIST);
    for ring in [16, 24, 32].into_iter().filter_map(RingWidth::new) {
        let packed = |kernel| ring.pack(&applied(kernel, &stream, Sign::Minus, 0, 1001));
        for kernel in Kernel::available() {
            assert!(packed(kernel) == packed(Kernel::PORTABLE), "{} in {} bits", kernel.name(), ring.bits());
        }
    }
}

#[test]
fn the_fastest_kernel_is_available() {
    assert!(Kernel::available().contains(&Kernel::fastest()));
    println!(
        "kernels tested: {:?}",
        Kernel::available().iter().map(|kernel| kernel.name()).collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// MASK-05
    #[test]
    fn kernels_agree_on_any_secret(bytes: [u8; 32], offset in 0usize..16, length in 0usize..5000) {
        assert_kernels_agree(&StreamSecret::new(&bytes), offset, length);
    }
}
