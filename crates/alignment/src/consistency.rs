//! Routing consistency: how far a member's router agrees with the published routing distribution.
//!
//! The member computes it from its own noised values before it masks anything. The coordinator sees the
//! weight only as part of the sum over all members.

/// The least consistency weight; it keeps the divisor of a router's sum away from 0 (`ALIGN-12`).
pub const LEAST: f32 = 0.25;

/// The consistency weight `omega` of a member's router update, between ¼ and 1 (`ALIGN-11`).
///
/// `distribution` is the member's routing distribution over the layer's experts, `published` is the published
/// one, and `margins` has the member's margin for each expert; a negative margin counts as 0.
///
/// Each expert counts with `overlap·margin`, where the overlap is the product of both shares (the product is
/// the paper's choice; the forms of overlap and margin are ours). The sum over the experts is divided by what
/// a member with exactly the published distribution and margins of 1 would have. Without a published
/// distribution the weight is 1.
pub fn weight(distribution: &[f32], published: &[f32], margins: &[f32]) -> f32 {
    let reference: f32 = published.iter().map(|share| share * share).sum();
    if reference <= 0.0 {
        return 1.0;
    }
    let overlaps = distribution.iter().zip(published).map(|(share, published)| share * published);
    let consistency: f32 = overlaps.zip(margins).map(|(overlap, margin)| overlap * margin.max(0.0)).sum();
    let weight = LEAST + (1.0 - LEAST) * consistency / reference;
    // `clamp` would keep NaN, and an update with NaN cannot be uploaded.
    if weight.is_finite() { weight.clamp(LEAST, 1.0) } else { LEAST }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ALIGN-11
    #[test]
    fn agreement_weighs_more_and_the_range_is_kept() {
        let published = [0.7, 0.2, 0.1];
        let same = weight(&published, &published, &[0.8; 3]);
        let other = weight(&[0.1, 0.2, 0.7], &published, &[0.8; 3]);
        assert!(same > other && other >= LEAST && same <= 1.0, "{same} {other}");
        assert_eq!(weight(&published, &[0.0; 3], &[0.5; 3]), 1.0);
        assert_eq!(weight(&[f32::NAN; 3], &published, &[0.5; 3]), LEAST);
    }
}
