//! The lists that a new strategy or cohort rule joins with one line.
//!
//! They are macros because a list of values would not do: configuration files are typed, so each strategy needs a
//! variant, and a variant would need an arm in each function below. The macros write those.

/// Makes an enum with a variant for each line, which holds the settings that the line names.
///
/// A line `FedProx => fedprox::FedProx,` makes the variant `FedProx(fedprox::FedProx)`. Configuration files name it
/// `FedProx`.
macro_rules! strategies {
    ($($(#[$about:meta])* $name:ident => $module:ident :: $settings:ident,)+) => {
        /// A strategy with its own settings. Files name it by the variant's name, as Flower spells those that it has.
        #[derive(Clone, PartialEq, Debug)]
        pub enum StrategyKind {
            $($(#[$about])* $name($module::$settings),)+
        }

        impl StrategyKind {
            /// Every name, in the order of the list.
            pub const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// The name in files and results.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)+
                }
            }

            /// The strategy's settings behind their common interface.
            pub fn settings(&self) -> &dyn StrategySettings {
                match self {
                    $(Self::$name(settings) => settings,)+
                }
            }

            /// The strategy of this name with these settings and defaults for the others; `None` for no such strategy.
            pub(crate) fn from_table(
                name: &str,
                table: toml::Table,
            ) -> Option<Result<Self, toml::de::Error>> {
                match name {
                    $(stringify!($name) => Some(table.try_into().map(Self::$name)),)+
                    _ => None,
                }
            }

            /// The strategy's settings as a file has them.
            pub(crate) fn to_table(&self) -> Result<toml::Table, toml::ser::Error> {
                match self {
                    $(Self::$name(settings) => toml::Table::try_from(settings),)+
                }
            }
        }
    };
}

/// Makes an enum with a variant for each line, which stands for the function `shares` of the module that the line names.
/// Files name variants in kebab case.
macro_rules! cohort_rules {
    ($($(#[$about:meta])* $name:ident => $module:ident,)+) => {
        /// Who is summed for an expert, and with which share; all but the first are ablations.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum CohortRule {
            $($(#[$about])* $name,)+
        }

        impl CohortRule {
            /// The share with which each member's update of the expert is summed.
            pub(crate) fn shares(self, expert: &ScoredExpert<'_>) -> Vec<f64> {
                match self {
                    $(Self::$name => $module::shares(expert),)+
                }
            }
        }
    };
}

pub(crate) use {cohort_rules, strategies};
