//! Notes of different lengths, packed without padding. A long note may have several windows. Each attends to
//! itself only; the note's mean is over all of them.
//!
//! Everything that works token by token runs on packed rows `[tokens, width]`, so padding costs nothing there; only
//! attention lays the rows out as `[windows, longest, width]`, and masks the cells that have no token.

use tch::{Device, Kind, Tensor};

use crate::device::uploaded;

/// How the tokens of a batch of notes lie in packed rows.
pub(crate) struct Packing {
    /// Notes in the batch.
    pub(crate) notes: i64,
    /// Windows in the batch; as many as notes where each has one.
    pub(crate) windows: i64,
    /// Tokens of the longest window.
    pub(crate) longest: i64,
    /// For each cell of `[windows · longest]`, the packed row that fills it; where there is no token, the
    /// window's last.
    cells: Tensor,
    /// For each packed row, its cell.
    rows: Tensor,
    /// Whether all windows are equally long. Rows and cells are then the same, and neither is copied.
    even: bool,
    /// `[windows, 1, 1, longest]`: 0 for tokens, −∞ elsewhere.
    pub(crate) mask: Tensor,
    /// For each packed row the number of its note, whichever window it lies in, `[tokens]`.
    owners: Tensor,
    /// For each packed row, 1 over the number of its note's rows, `[tokens, 1]`.
    shares: Tensor,
}

impl Packing {
    /// The packing of notes with one window each, of these numbers of tokens, none of which is 0.
    pub(crate) fn new(lengths: &[i64]) -> Self {
        Self::from_windows(&lengths.chunks(1).collect::<Vec<_>>())
    }

    /// The packing of notes whose windows have these numbers of tokens, none of which is 0.
    pub(crate) fn from_windows(note_windows: &[&[i64]]) -> Self {
        let lengths = note_windows.concat();
        let windows = lengths.len() as i64;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let tokens: i64 = lengths.iter().sum();
        let (owners, shares) = owners_and_shares(note_windows);
        let (mut cells, mut rows, mut mask) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (window, &length) in lengths.iter().enumerate() {
            let window = window as i64;
            // Cells after a window's end repeat its last row. Any finite row would do: the mask excludes it.
            cells.extend((0..longest).map(|place| start + place.min(length - 1)));
            rows.extend((0..length).map(|place| window * longest + place));
            // Each window has a token, so no row of the mask is all −∞, of which the softmax would be NaN.
            mask.extend((0..longest).map(|place| if place < length { 0.0 } else { f32::NEG_INFINITY }));
            start += length;
        }
        Self {
            notes: note_windows.len() as i64,
            windows,
            longest,
            even: windows * longest == tokens,
            cells: Tensor::from_slice(&cells),
            rows: Tensor::from_slice(&rows),
            mask: Tensor::from_slice(&mask).view([windows, 1, 1, longest]),
            owners,
            shares,
        }
    }

    /// The same packing for tensors on another device.
    pub(crate) fn to_device(&self, device: Device) -> Self {
        Self {
            cells: uploaded(&self.cells, device),
            rows: uploaded(&self.rows, device),
            mask: uploaded(&self.mask, device),
            owners: uploaded(&self.owners, device),
            shares: uploaded(&self.shares, device),
            ..*self
        }
    }

    /// Packed rows `[tokens, width]` as `[windows · longest, width]`.
    pub(crate) fn spread(&self, packed: &Tensor) -> Tensor {
        if self.even { packed.shallow_clone() } else { packed.index_select(0, &self.cells) }
    }

    /// `[windows · longest, width]` as packed rows.
    pub(crate) fn pack(&self, spread: &Tensor) -> Tensor {
        if self.even { spread.shallow_clone() } else { spread.index_select(0, &self.rows) }
    }

    /// The mean of each note's rows, `[notes, width]`.
    pub(crate) fn mean(&self, packed: &Tensor) -> Tensor {
        // Not a product with a matrix of shares and zeros: 0 · NaN is NaN, so that one note's broken row, or its
        // broken gradient, would break all notes (`PRIV-10`).
        let sums = Tensor::zeros([self.notes, packed.size()[1]], (Kind::Float, packed.device()));
        sums.index_add(0, &self.owners, &(packed * &self.shares))
    }

    /// For each packed row the number of its note, whichever window it lies in, `[tokens]`.
    pub(crate) fn owners(&self) -> Tensor {
        self.owners.shallow_clone()
    }

    /// For each packed row its place in its window, counted from 0.
    pub(crate) fn places(&self) -> Tensor {
        // Cells are numbered `window · longest + place`.
        self.rows.remainder(self.longest)
    }
}

/// For each packed row the number of its note, `[tokens]`, and 1 over the number of that note's rows, over
/// all its windows, `[tokens, 1]`.
fn owners_and_shares(note_windows: &[&[i64]]) -> (Tensor, Tensor) {
    let (mut owners, mut shares) = (Vec::new(), Vec::new());
    for (note, windows) in (0_i64..).zip(note_windows) {
        let length: i64 = windows.iter().sum();
        owners.extend((0..length).map(|_| note));
        shares.extend((0..length).map(|_| 1.0 / length as f32));
    }
    (Tensor::from_slice(&owners), Tensor::from_slice(&shares).view([-1, 1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::values;

    #[test]
    fn packing_undoes_spreading_and_means_stay_within_notes() {
        let packing = Packing::new(&[1, 3, 2]);
        let packed = Tensor::arange(12, (Kind::Float, tch::Device::Cpu)).view([6, 2]);
        let spread = packing.spread(&packed);
        assert_eq!(spread.size(), [9, 2]);
        assert_eq!(values(&packing.pack(&spread)), values(&packed));
        assert_eq!(values(&packing.mean(&packed)), [0.0, 1.0, 4.0, 5.0, 9.0, 10.0]);
        assert_eq!(Vec::<i64>::try_from(packing.places()).expect("a vector"), [0, 0, 1, 2, 0, 1]);
        assert_eq!(Vec::<i64>::try_from(packing.owners()).expect("a vector"), [0, 1, 1, 1, 2, 2]);
        let windows = Packing::from_windows(&[&[1, 3], &[2]]);
        assert_eq!(values(&windows.spread(&packed)), values(&spread), "each window attends to itself");
        assert_eq!(
            values(&windows.mean(&packed)),
            [3.0, 4.0, 9.0, 10.0],
            "a note is the mean of its windows"
        );
        assert_eq!(Vec::<i64>::try_from(windows.owners()).expect("a vector"), [0, 0, 0, 0, 1, 1]);
        let open = values(&packing.mask).into_iter().filter(|&value| value == 0.0).count();
        assert_eq!(open, 6);
    }

    /// PRIV-10
    #[test]
    fn a_note_that_is_not_finite_breaks_no_other_note_s_mean_or_gradient() {
        let packing = Packing::from_windows(&[&[2], &[1, 2], &[1]]);
        let computed = |rows: &[f32]| {
            let packed = Tensor::from_slice(rows).view([6, 1]).set_requires_grad(true);
            let means = packing.mean(&packed);
            let gradient = Tensor::run_backward(&[means.log().sum(Kind::Float)], &[&packed], false, false);
            (values(&means.detach()), values(&gradient[0]))
        };
        let (means, gradient) = computed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // With −8 the mean is 0, whose logarithm has no finite gradient.
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -8.0] {
            let (of_broken, gradient_of_broken) = computed(&[1.0, 2.0, 3.0, broken, 5.0, 6.0]);
            let is_broken = !of_broken[1].is_finite() || !gradient_of_broken[3].is_finite();
            assert!(is_broken, "control: {broken} breaks its own note");
            assert_eq!((of_broken[0], of_broken[2]), (means[0], means[2]), "{broken}");
            assert_eq!(gradient_of_broken[..2], gradient[..2], "{broken}");
            assert_eq!(gradient_of_broken[5], gradient[5], "{broken}");
        }
    }
}
