//! What hospitals announce of their experts, as flags name it and as people are told.

use cloister_params::plan::SketchForm;

/// A form of sketches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum SketchFlag {
    /// Two projections of each expert, of 16-bit numbers, compared pair by pair.
    Pairs,
    /// One bit for each coordinate of a projection, compared by the coordinates in which two hospitals agree.
    Signs,
}

impl From<SketchFlag> for SketchForm {
    fn from(flag: SketchFlag) -> Self {
        match flag {
            SketchFlag::Pairs => Self::Pairs,
            SketchFlag::Signs => Self::Signs,
        }
    }
}

/// What a form is, and what it tells about a hospital.
pub(crate) fn in_words(form: SketchForm) -> &'static str {
    match form {
        SketchForm::Pairs => {
            "pairs: two projections of each expert; with little noise they tell a hospital's mix of cases nearly as well as \
             its update does"
        }
        SketchForm::Signs => {
            "signs: a bit for each coordinate of a projection of each expert; with little noise they still tell much of a \
             hospital's mix of cases"
        }
    }
}
