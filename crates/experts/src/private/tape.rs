//! Gradients of each example of a batch, from one pass back over all of them.
//!
//! Every trained tensor is the weight of a product `output = input · weightᵀ`. Products are written to a tape as they
//! are made; the pass back gives the gradient by each output, and the gradient of an example is
//! `output gradientᵀ · input` over its own rows (Goodfellow 2015, "Efficient per-example gradient computations"; for
//! low-rank additions the products are small, so that gradients are kept and not only their norms). It is that of
//! the example alone because nothing in the model or in the loss couples examples.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tch::{Kind, Tensor};

/// Which part of a trained tensor a product is made with.
pub(crate) enum Place {
    /// All of it.
    Whole,
    /// One expert's part of a stack.
    Expert(usize),
    /// Each expert's part, with rows sorted by expert; how many rows each has, `[experts]`.
    Sorted(Tensor),
    /// Each expert's part, with inputs `[rows, experts · in]` that are 0 but in the columns of the row's expert; the
    /// expert of each row, `[rows]`.
    Chosen { experts: i64, of_rows: Tensor },
}

/// A product with a trained weight.
struct Product {
    /// Name of the weight.
    parameter: String,
    place: Place,
    /// `[rows, in]`.
    input: Tensor,
    /// `[rows, out]`.
    output: Tensor,
    /// The example of each row, `[rows]`.
    owners: Tensor,
}

/// The products of a pass through a model.
#[derive(Clone, Default)]
pub(crate) struct Tape(Arc<Mutex<Vec<Product>>>);

impl Tape {
    fn products(&self) -> MutexGuard<'_, Vec<Product>> {
        self.0.lock().expect("nothing panics while it writes to the tape")
    }

    /// Writes the products of one module to the tape.
    pub(crate) fn recorder(&self, module: String) -> Recorder {
        Recorder(Some((self.clone(), module)))
    }

    /// The gradients of `loss`, a sum over examples, by each parameter: `[examples, …]` for a parameter `[…]`. Uses the
    /// tape up.
    pub(crate) fn gradients(
        &self,
        loss: &Tensor,
        examples: i64,
        parameters: &[(String, Tensor)],
    ) -> Vec<Tensor> {
        let mut products = std::mem::take(&mut *self.products());
        products.retain(|product| parameters.iter().any(|(name, _)| *name == product.parameter));
        let outputs: Vec<&Tensor> = products.iter().map(|product| &product.output).collect();
        let by_output = Tensor::run_backward(&[loss], &outputs, false, false);
        tch::no_grad(|| {
            let mut found: BTreeMap<String, Vec<(Option<usize>, Tensor)>> = BTreeMap::new();
            for (product, gradient) in products.into_iter().zip(by_output) {
                let own = product.parts(&gradient, examples);
                found.entry(product.parameter).or_default().extend(own);
            }
            let assembled = |(name, parameter): &(String, Tensor)| {
                assemble(parameter, examples, found.remove(name).unwrap_or_default())
            };
            parameters.iter().map(assembled).collect()
        })
    }
}

impl Product {
    /// The gradients of each example, `[examples, out, in]`, of the whole weight or of experts' parts of it.
    fn parts(&self, gradient: &Tensor, examples: i64) -> Vec<(Option<usize>, Tensor)> {
        let all = || of_each(&self.owners, gradient, &self.input, examples);
        let rows = [&self.owners, gradient, &self.input];
        match &self.place {
            Place::Whole => vec![(None, all())],
            Place::Expert(expert) => vec![(Some(*expert), all())],
            Place::Sorted(counts) => of_sorted(&rows, counts, examples, |_, input| input.shallow_clone()),
            Place::Chosen { experts, of_rows } => {
                let order = of_rows.argsort_stable(true, 0, false);
                let sorted = rows.map(|rows| rows.index_select(0, &order));
                let width = self.input.size()[1] / *experts;
                let columns = |expert, input: &Tensor| input.narrow(1, expert as i64 * width, width);
                let counts = of_rows.bincount(None::<&Tensor>, *experts);
                of_sorted(&sorted.each_ref(), &counts, examples, columns)
            }
        }
    }
}

/// The gradients of each example by each expert's part, from owners, gradients and inputs of rows that are sorted by expert;
/// `of_input` gives an expert's inputs from those of its rows.
fn of_sorted(
    rows: &[&Tensor; 3],
    counts: &Tensor,
    examples: i64,
    of_input: impl Fn(usize, &Tensor) -> Tensor,
) -> Vec<(Option<usize>, Tensor)> {
    let counts: Vec<i64> = Vec::try_from(counts).expect("counts are a vector of integers");
    let [owners, gradient, input] = rows.map(|rows| rows.split_with_sizes(&counts, 0));
    let own = |expert| {
        let input = of_input(expert, &input[expert]);
        (Some(expert), of_each(&owners[expert], &gradient[expert], &input, examples))
    };
    (0..counts.len()).map(own).collect()
}

/// `[examples, out, in]`. The narrower side is laid out once for each example, 0 in the rows of others: one product
/// of a few more columns instead of one for each example.
fn of_each(owners: &Tensor, gradient: &Tensor, input: &Tensor, examples: i64) -> Tensor {
    let (gradient, input) = (gradient.to_kind(Kind::Float), input.to_kind(Kind::Float));
    let (outputs, inputs) = (gradient.size()[1], input.size()[1]);
    let own = owners.one_hot(examples).to_kind(Kind::Float).unsqueeze(2);
    let lay_out = |rows: &Tensor, width: i64| (&own * rows.unsqueeze(1)).view([-1, examples * width]);
    if outputs <= inputs {
        lay_out(&gradient, outputs).tr().matmul(&input).view([examples, outputs, inputs])
    } else {
        let product = gradient.tr().matmul(&lay_out(&input, inputs));
        product.view([outputs, examples, inputs]).transpose(0, 1)
    }
}

/// The gradients by a whole parameter from those of its parts: of its experts, or of all of it.
fn assemble(parameter: &Tensor, examples: i64, parts: Vec<(Option<usize>, Tensor)>) -> Tensor {
    let shape = [&[examples], parameter.size().as_slice()].concat();
    let whole = Tensor::zeros(shape.as_slice(), (Kind::Float, parameter.device()));
    for (expert, part) in parts {
        let mut place = expert.map_or_else(|| whole.shallow_clone(), |expert| whole.select(1, expert as i64));
        place += part.reshape(place.size().as_slice());
    }
    whole
}

/// Writes a module's products to a tape, or nothing.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Option<(Tape, String)>);

impl Recorder {
    /// Writes `output = input · weightᵀ` to the tape, for the weight `part` of the module. Its place, and which example
    /// each row is of, are asked for only where there is a tape.
    pub(crate) fn record(
        &self,
        part: &str,
        product: (&Tensor, &Tensor),
        rows: impl FnOnce() -> (Place, Tensor),
    ) {
        let Some((tape, module)) = &self.0 else { return };
        let (place, owners) = rows();
        let (input, output) = (product.0.detach(), product.1.shallow_clone());
        let parameter = format!("{module}.{part}");
        tape.products().push(Product { parameter, place, input, output, owners });
    }
}
