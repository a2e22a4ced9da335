//! Gradients of each example of a batch, from one pass back over all of them.
//!
//! Every trained tensor is the weight of a product `output = input · weightᵀ`. Products are written to a tape
//! as they are made; the pass back gives the gradient by each output, and the gradient of an example is
//! `output gradientᵀ · input` over its own rows (Goodfellow 2015, "Efficient per-example gradient
//! computations"; for low-rank additions the products are small, so that gradients are kept and not only
//! their norms). It is that of the example alone because nothing in the model or in the loss couples
//! examples.
//!
//! One product serves all examples of a batch. In it the rows of other examples meet zeros, and 0 · NaN is
//! NaN. So rows that are not finite are set to 0 before the product, and the whole gradient of their example
//! is NaN after it: one such example leaves the others' gradients as they are (`PRIV-10`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tch::{Device, Kind, Tensor};

use crate::training::private::are_finite;

/// Which part of a trained tensor a product is made with.
pub(crate) enum WeightPart {
    /// All of it.
    Whole,
    /// One expert's part of a stack.
    Expert(usize),
    /// Each expert's part, with rows sorted by expert. The tensor has the number of rows of each,
    /// `[experts]`.
    Sorted(Tensor),
    /// Each expert's part, with inputs `[rows, experts · in]` that are 0 outside the columns of the row's
    /// expert.
    Chosen {
        /// How many experts there are.
        experts: i64,
        /// The expert of each row, `[rows]`.
        expert_of_row: Tensor,
    },
}

/// A product with a trained weight.
struct Product {
    /// Name of the weight.
    parameter: String,
    place: WeightPart,
    /// `[rows, in]`.
    input: Tensor,
    /// `[rows, out]`.
    output: Tensor,
    /// The example of each row, `[rows]`.
    owners: Tensor,
}

/// The products of a pass through a model.
#[derive(Clone, Default)]
// `Arc` and `Mutex`, not `Rc` and `RefCell`: a model that holds a recorder can move to another thread.
pub(crate) struct Tape(Arc<Mutex<Vec<Product>>>);

impl Tape {
    fn products(&self) -> MutexGuard<'_, Vec<Product>> {
        self.0.lock().expect("nothing panics while it writes to the tape")
    }

    /// Writes the products of one module to the tape.
    pub(crate) fn recorder(&self, module: String) -> Recorder {
        Recorder(Some((self.clone(), module)))
    }

    /// The gradients of `loss`, a sum over examples, by each parameter: `[examples, …]` for a parameter
    /// `[…]`. Empties the tape.
    pub(crate) fn gradients(
        &self,
        loss: &Tensor,
        examples: i64,
        parameters: &[(String, Tensor)],
    ) -> Vec<Tensor> {
        let mut products = std::mem::take(&mut *self.products());
        // Products with frozen weights are on the tape too, and their gradients are not needed.
        products.retain(|product| parameters.iter().any(|(name, _)| *name == product.parameter));
        let outputs: Vec<&Tensor> = products.iter().map(|product| &product.output).collect();
        let by_output = Tensor::run_backward(&[loss], &outputs, false, false);
        tch::no_grad(|| {
            let mut broken = Tensor::zeros([examples], (Kind::Float, loss.device()));
            let mut found: BTreeMap<String, Vec<(Option<usize>, Tensor)>> = BTreeMap::new();
            for (product, gradient) in products.into_iter().zip(by_output) {
                let rows = FiniteRows::new(&product, &gradient);
                broken = broken.index_add(0, &product.owners, &rows.broken);
                found.entry(product.parameter).or_default().extend(rows.parts(&product.place, examples));
            }
            // Not `broken · NaN`: 0 · NaN is NaN.
            let start = broken.zeros_like().masked_fill(&broken.gt(0.0), f64::NAN);
            let mut gradients = Vec::with_capacity(parameters.len());
            for (name, parameter) in parameters {
                gradients.push(assemble(parameter, &start, found.remove(name).unwrap_or_default()));
            }
            gradients
        })
    }
}

/// Both factors of an example's gradient, row by row.
struct FiniteRows {
    /// The example of each row, `[rows]`.
    owners: Tensor,
    /// The gradient by the output, `[rows, out]`; 0 in broken rows.
    gradient: Tensor,
    /// `[rows, in]`, in the gradient's precision; 0 in broken rows.
    input: Tensor,
    /// 1 for each row that is not finite in either factor, otherwise 0, `[rows]`.
    broken: Tensor,
}

impl FiniteRows {
    fn new(product: &Product, gradient: &Tensor) -> Self {
        // Converted before the check: what is finite may overflow in a narrower format.
        let input = product.input.to_kind(gradient.kind());
        let finite = are_finite(gradient).logical_and(&are_finite(&input));
        let or_0 = |rows: &Tensor| rows.where_self(&finite, &rows.zeros_like());
        Self {
            owners: product.owners.shallow_clone(),
            gradient: or_0(gradient),
            input: or_0(&input),
            broken: finite.logical_not().to_kind(Kind::Float).squeeze_dim(1),
        }
    }

    /// The gradients of each example, `[examples, out, in]`, of the whole weight or of experts' parts of it.
    fn parts(&self, place: &WeightPart, examples: i64) -> Vec<(Option<usize>, Tensor)> {
        let rows = [&self.owners, &self.gradient, &self.input];
        let all = || each_gradient(&self.owners, &self.gradient, &self.input, examples);
        match place {
            WeightPart::Whole => vec![(None, all())],
            WeightPart::Expert(expert) => vec![(Some(*expert), all())],
            // On a GPU the counts stay there: if the host read them, it would wait for everything that is
            // queued.
            WeightPart::Sorted(counts) if on_gpu(&self.gradient) => {
                vec![(None, grouped_gradients(&rows, counts, examples))]
            }
            WeightPart::Chosen { experts, .. } if on_gpu(&self.gradient) => {
                vec![(None, split_experts(&all(), *experts))]
            }
            WeightPart::Sorted(counts) => {
                sorted_gradients(&rows, counts, examples, |_, input| input.shallow_clone())
            }
            WeightPart::Chosen { experts, expert_of_row } => {
                let order = expert_of_row.argsort_stable(true, 0, false);
                let sorted = rows.map(|rows| rows.index_select(0, &order));
                let width = self.input.size()[1] / *experts;
                let counts = expert_of_row.bincount(None::<&Tensor>, *experts);
                sorted_gradients(&sorted.each_ref(), &counts, examples, |expert, input| {
                    input.narrow(1, expert as i64 * width, width)
                })
            }
        }
    }
}

/// The gradients of each example by each expert's part, from owners, gradients and inputs of rows that are
/// sorted by expert; `expert_input` gives an expert's inputs from those of its rows.
fn sorted_gradients(
    rows: &[&Tensor; 3],
    counts: &Tensor,
    examples: i64,
    expert_input: impl Fn(usize, &Tensor) -> Tensor,
) -> Vec<(Option<usize>, Tensor)> {
    let counts: Vec<i64> = Vec::try_from(counts).expect("counts are a vector of integers");
    let [owners, gradient, input] = rows.map(|rows| rows.split_with_sizes(&counts, 0));
    let mut parts = Vec::with_capacity(counts.len());
    for expert in 0..counts.len() {
        let input = expert_input(expert, &input[expert]);
        parts.push((Some(expert), each_gradient(&owners[expert], &gradient[expert], &input, examples)));
    }
    parts
}

fn on_gpu(tensor: &Tensor) -> bool {
    matches!(tensor.device(), Device::Cuda(_))
}

/// The gradient of each example, `[examples, out, in]`. The narrower side is laid out once for each example,
/// with 0 in the rows of others: one product with more columns instead of one product for each example.
fn each_gradient(owners: &Tensor, gradient: &Tensor, input: &Tensor, examples: i64) -> Tensor {
    let (gradient, input) = (gradient.to_kind(Kind::Float), input.to_kind(Kind::Float));
    let (outputs, inputs) = (gradient.size()[1], input.size()[1]);
    if outputs <= inputs {
        let laid_out = laid_out(&gradient, owners, examples);
        laid_out.tr().matmul(&input).view([examples, outputs, inputs])
    } else {
        let product = gradient.tr().matmul(&laid_out(&input, owners, examples));
        product.view([outputs, examples, inputs]).transpose(0, 1)
    }
}

/// Rows `[rows, width]` as `[rows, examples · width]`, with 0 outside the columns of each row's example.
fn laid_out(rows: &Tensor, owners: &Tensor, examples: i64) -> Tensor {
    let is_owner = owners.one_hot(examples).to_kind(rows.kind()).unsqueeze(2);
    (is_owner * rows.unsqueeze(1)).view([-1, examples * rows.size()[1]])
}

/// As [`sorted_gradients`], for all experts in one grouped product, `[examples, experts, out, in]`. The bounds stay
/// on the device, and what comes out is as precise as the rows.
fn grouped_gradients([owners, gradient, input]: &[&Tensor; 3], counts: &Tensor, examples: i64) -> Tensor {
    let ends = counts.cumsum(0, Kind::Int);
    let (outputs, inputs) = (gradient.size()[1], input.size()[1]);
    if outputs <= inputs {
        let product = grouped_product(&laid_out(gradient, owners, examples), input, &ends);
        product.view([-1, examples, outputs, inputs]).transpose(0, 1)
    } else {
        let product = grouped_product(gradient, &laid_out(input, owners, examples), &ends);
        product.view([-1, outputs, examples, inputs]).permute([2, 0, 1, 3])
    }
}

/// For each group of rows that ends at one of `ends`, the product `oneᵀ · other`, `[groups, width of one,
/// width of other]`.
fn grouped_product(one: &Tensor, other: &Tensor, ends: &Tensor) -> Tensor {
    one.tr().internal_grouped_mm(other, Some(ends), None, None).to_kind(Kind::Float)
}

/// The gradients of each example by all experts' parts, `[examples, experts, out, in]`, from those by their
/// parts side by side, `[examples, out, experts · in]`.
fn split_experts(side_by_side: &Tensor, experts: i64) -> Tensor {
    let (examples, outputs) = (side_by_side.size()[0], side_by_side.size()[1]);
    side_by_side.view([examples, outputs, experts, -1]).transpose(1, 2)
}

/// The gradients by a whole parameter, `[examples, …]`, from those by its parts. A weight that is used
/// several times has the sum of its gradients. `start`, `[examples]`, is 0, or NaN for an example whose
/// gradients are not finite.
fn assemble(parameter: &Tensor, start: &Tensor, parts: Vec<(Option<usize>, Tensor)>) -> Tensor {
    let shape = [start.size(), parameter.size()].concat();
    let start = start.view([&[-1], vec![1; parameter.dim()].as_slice()].concat().as_slice());
    let mut whole = Tensor::empty(shape.as_slice(), (Kind::Float, parameter.device()));
    whole.copy_(&start);
    for (expert, part) in parts {
        // A view of `whole`, so that adding to it fills its part.
        let mut place = expert.map_or_else(|| whole.shallow_clone(), |expert| whole.select(1, expert as i64));
        place += part.reshape(place.size().as_slice());
    }
    whole
}

/// Writes a module's products to a tape, or nothing.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Option<(Tape, String)>);

impl Recorder {
    /// Writes `output = input · weightᵀ` to the tape, for the weight `part` of the module. `rows` gives the
    /// part of the weight and the example of each row; it is called only if there is a tape, so that plain
    /// training does not pay for it.
    pub(crate) fn record(
        &self,
        part: &str,
        product: (&Tensor, &Tensor),
        rows: impl FnOnce() -> (WeightPart, Tensor),
    ) {
        let Some((tape, module)) = &self.0 else { return };
        let (place, owners) = rows();
        // Gradients are asked for by the output, so it keeps its graph; the input is a plain value.
        let (input, output) = (product.0.detach(), product.1.shallow_clone());
        let parameter = format!("{module}.{part}");
        tape.products().push(Product { parameter, place, input, output, owners });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLES: i64 = 3;
    const COUNTS: [i64; 4] = [5, 3, 0, 4];

    /// Rows of three texts, sorted by four experts, of which one has none.
    fn rows(outputs: i64, inputs: i64) -> (Tensor, Tensor, Tensor) {
        let owners = Tensor::from_slice(&[0_i64, 0, 1, 2, 2, 0, 1, 1, 2, 0, 0, 1]);
        let waves = |width: i64, pace: f64| {
            (Tensor::arange(12 * width, (Kind::Float, Device::Cpu)) * pace).sin().view([12, width])
        };
        (owners, waves(outputs, 0.7), waves(inputs, 1.3))
    }

    /// The gradients of each text by each expert's part, as a processor makes them.
    fn expected((owners, gradient, input): &(Tensor, Tensor, Tensor)) -> Tensor {
        let parameter = Tensor::zeros([4, gradient.size()[1], input.size()[1]], (Kind::Float, Device::Cpu));
        let counts = Tensor::from_slice(&COUNTS);
        let parts =
            sorted_gradients(&[owners, gradient, input], &counts, EXAMPLES, |_, input| input.shallow_clone());
        assemble(&parameter, &Tensor::zeros([EXAMPLES], (Kind::Float, Device::Cpu)), parts)
    }

    /// What a GPU makes, made here.
    #[test]
    fn without_counts_each_text_has_the_same_gradients() {
        for (outputs, inputs) in [(8, 16), (24, 8)] {
            let product = rows(outputs, inputs);
            let (owners, gradient, input) = &product;
            let expected = expected(&product);
            assert!(expected.abs().max().double_value(&[]) > 1.0, "there is something to compare");
            let halves = [gradient, input].map(|rows| rows.to_kind(Kind::BFloat16));
            let grouped =
                grouped_gradients(&[owners, &halves[0], &halves[1]], &Tensor::from_slice(&COUNTS), EXAMPLES);
            assert!(grouped.allclose(&expected, 3e-2, 3e-2, false), "grouped, {outputs} by {inputs}");

            let experts = Tensor::from_slice(&[0_i64, 1, 2, 3]).repeat_interleave_self_tensor(
                &Tensor::from_slice(&COUNTS),
                0,
                12,
            );
            let side_by_side = laid_out(input, &experts, 4);
            let columns = split_experts(&each_gradient(owners, gradient, &side_by_side, EXAMPLES), 4);
            assert!(columns.allclose(&expected, 1e-5, 1e-5, false), "columns, {outputs} by {inputs}");
            assert!(!columns.flip([1]).allclose(&expected, 1e-1, 1e-1, false), "control: other experts");
        }
    }

    /// The gradients of three texts by a weight, from what is on the tape after a pass.
    fn gradients(place: WeightPart, (owners, gradient, input): &(Tensor, Tensor, Tensor)) -> Tensor {
        let (tape, outputs) = (Tape::default(), gradient.size()[1]);
        let shape = match &place {
            WeightPart::Whole => vec![outputs, input.size()[1]],
            WeightPart::Expert(_) | WeightPart::Sorted(_) => vec![4, outputs, input.size()[1]],
            WeightPart::Chosen { experts, .. } => vec![4, outputs, input.size()[1] / experts],
        };
        let parameter = Tensor::zeros(shape.as_slice(), (Kind::Float, Device::Cpu));
        let output = gradient.zeros_like().set_requires_grad(true);
        let loss = (&output * gradient).sum(Kind::Float);
        let (input, owners) = (input.shallow_clone(), owners.shallow_clone());
        tape.products().push(Product { parameter: "w".to_owned(), place, input, output, owners });
        tape.gradients(&loss, EXAMPLES, &[("w".to_owned(), parameter)]).remove(0)
    }

    /// The same, from what a GPU makes of sorted rows.
    fn grouped_by_text((owners, gradient, input): &(Tensor, Tensor, Tensor)) -> Tensor {
        let [gradient, input] = [gradient, input].map(|rows| rows.to_kind(Kind::BFloat16));
        let (parameter, output) = (String::new(), gradient.zeros_like());
        let owners = owners.shallow_clone();
        let product = Product { parameter, place: WeightPart::Whole, input, output, owners };
        let rows = FiniteRows::new(&product, &gradient);
        grouped_gradients(
            &[&rows.owners, &rows.gradient, &rows.input],
            &Tensor::from_slice(&COUNTS),
            EXAMPLES,
        )
    }

    /// PRIV-10
    #[test]
    fn a_text_that_is_not_finite_changes_no_other_text_s_gradients() {
        let experts = || {
            let counts = Tensor::from_slice(&COUNTS);
            Tensor::arange(4, (Kind::Int64, Device::Cpu)).repeat_interleave_self_tensor(&counts, 0, 12)
        };
        let places: [fn(&Tensor) -> WeightPart; 4] = [
            |_| WeightPart::Whole,
            |_| WeightPart::Expert(1),
            |_| WeightPart::Sorted(Tensor::from_slice(&COUNTS)),
            |experts| WeightPart::Chosen { experts: 4, expert_of_row: experts.shallow_clone() },
        ];
        for (outputs, inputs) in [(8, 16), (24, 8)] {
            let sound = rows(outputs, inputs);
            for (breaks_input, value) in [true, false]
                .into_iter()
                .flat_map(|input| [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|value| (input, value)))
            {
                let broken = rows(outputs, inputs);
                // The third row is of text 1.
                let _ = if breaks_input { &broken.2 } else { &broken.1 }.get(2).narrow(0, 3, 1).fill_(value);
                for (number, place) in places.iter().enumerate() {
                    let place = || place(&experts());
                    let laid = |(owners, gradient, input): &(Tensor, Tensor, Tensor)| {
                        let input = match place() {
                            WeightPart::Chosen { .. } => laid_out(input, &experts(), 4),
                            _ => input.shallow_clone(),
                        };
                        (owners.shallow_clone(), gradient.shallow_clone(), input)
                    };
                    let [one, other] = [&sound, &broken].map(|rows| gradients(place(), &laid(rows)));
                    assert_others_keep_theirs(&one, &other, &format!("{number}, {breaks_input}, {value}"));
                    assert_eq!(other.get(1).isnan().all().int64_value(&[]), 1, "text 1 is broken as a whole");
                }
                let [one, other] = [&sound, &broken].map(grouped_by_text);
                assert_others_keep_theirs(&one, &other, "grouped");
            }
        }
    }

    fn assert_others_keep_theirs(sound: &Tensor, broken: &Tensor, what: &str) {
        for text in [0, 2] {
            assert!(sound.get(text).abs().max().double_value(&[]) > 0.5, "{what}: there is a gradient");
            assert!(sound.get(text).equal(&broken.get(text)), "{what}: text {text} changes");
        }
    }
}
