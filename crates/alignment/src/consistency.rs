//! Routing consistency: how far a member's router agrees with the published routing distribution.
//!
//! Computed by the member from its own noised values, before it masks anything; the coordinator sees the weight
//! only inside the sum over all members.

/// The least consistency weight; it keeps the divisor of a router's sum away from 0 (`ALIGN-12`).
pub const LEAST: f32 = 0.25;

/// The consistency weight `omega` of a member's router update, between ¼ and 1 (`ALIGN-11`).
///
/// `s(e) = overlap·margin` with overlap `o(e) = p(e)·p_g(e)` (the product is the paper's choice; the forms of
/// overlap and margin are ours), summed over the layer's experts and divided by what a member with exactly the
/// published distribution and margins of 1 would have. Without a published distribution the weight is 1.
pub fn weight(own: &[f32], published: &[f32], margins: &[f32]) -> f32 {
    let reference: f32 = published.iter().map(|p| p * p).sum();
    if reference <= 0.0 {
        return 1.0;
    }
    let consistency: f32 = own.iter().zip(published).zip(margins).map(|((p, g), m)| p * g * m.max(0.0)).sum();
    let weight = LEAST + (1.0 - LEAST) * consistency / reference;
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
