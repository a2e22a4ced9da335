//! The coordinates of a router block.

/// A member's update of a router: the router's parameters, scaled by the member's consistency weight, and
/// that weight.
///
/// Both are summed behind the same masks, so that the mean is over the weights that members used
/// (`ALIGN-12`), and nobody sees one member's weight. In a vector of coordinates the weight comes last.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RouterUpdate<'a, T> {
    /// The parameters, or a sum of them.
    pub parameters: &'a [T],
    /// The consistency weight, or a sum of them.
    pub consistency_weight: T,
}

impl<'a, T: Copy> RouterUpdate<'a, T> {
    /// Reads the coordinates of a router block; `None` without any.
    pub fn split(coordinates: &'a [T]) -> Option<Self> {
        let (weight, parameters) = coordinates.split_last()?;
        Some(Self { parameters, consistency_weight: *weight })
    }

    /// Writes the coordinates of a router block.
    pub fn join(mut parameters: Vec<T>, consistency_weight: T) -> Vec<T> {
        parameters.push(consistency_weight);
        parameters
    }
}
