//! What hospitals announce of their experts, as flags name it and as people are told.

use cloister_params::plan::SketchForm;

use crate::round_settings::REGION_COORDINATES;

/// A form of sketches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum SketchFlag {
    /// Two projections of each expert, of 16-bit numbers, compared pair by pair.
    Pairs,
    /// One bit for each coordinate of a projection, compared by the coordinates in which two hospitals agree.
    Signs,
    /// No sketch: hospitals compare themselves with what the last round published, and announce one noised number.
    Withheld,
}

impl SketchFlag {
    /// Coordinates of an expert's region in the task, which blocks of regions have; none unless sketches are withheld, and
    /// with private training none.
    pub(crate) fn regions(self, private_training: bool) -> Option<u16> {
        (self == Self::Withheld && !private_training).then_some(REGION_COORDINATES)
    }
}

impl From<SketchFlag> for SketchForm {
    fn from(flag: SketchFlag) -> Self {
        match flag {
            SketchFlag::Pairs => Self::Pairs,
            SketchFlag::Signs => Self::Signs,
            SketchFlag::Withheld => Self::Withheld,
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
        SketchForm::Withheld => {
            "withheld: no sketch; one number for each group of experts, which says how well they agree with what was \
             published, and has noise or follows from private training"
        }
    }
}
