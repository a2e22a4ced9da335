//! The table `[strategy]`: a strategy with its own settings, and how members train.
//!
//! Both have their keys in one table, because that is how configuration files have always spelled them. A key of another
//! strategy is an error that names that strategy.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::MemberTrainingConfig;
use crate::strategy::StrategyKind;

/// A strategy, and how members train.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Table", into = "Table")]
pub struct StrategyConfig {
    /// Which strategy, with its settings.
    pub kind: StrategyKind,
    /// How members train, whichever strategy it is.
    pub training: MemberTrainingConfig,
}

impl StrategyConfig {
    /// Whether anything is trained.
    pub(crate) fn trains(&self) -> bool {
        self.training.num_rounds > 0 && self.kind.settings().trains()
    }
}

impl Default for StrategyConfig {
    fn default() -> Self {
        Self::try_from(Table::new()).expect("every setting has a default")
    }
}

/// Keys of [`MemberTrainingConfig`], compared with its fields by a test. They decide which part of the table
/// a key is for.
const TRAINING_KEYS: [&str; 9] = [
    "num_rounds",
    "local_epochs",
    "batch_size",
    "learning_rate",
    "private",
    "expert_clip",
    "balanced",
    "freeze_head",
    "head_every",
];

impl TryFrom<Table> for StrategyConfig {
    type Error = String;

    fn try_from(mut table: Table) -> Result<Self, String> {
        let name = match table.remove("name") {
            None => "Head".to_owned(),
            Some(Value::String(name)) => name,
            Some(other) => return Err(format!("`strategy.name` is a text, not {other}")),
        };
        if !StrategyKind::NAMES.contains(&name.as_str()) {
            let names = StrategyKind::NAMES.join(", ");
            return Err(format!("`strategy.name = \"{name}\"` is no strategy; the strategies are {names}"));
        }
        let (mut shared, mut specific) = (Table::new(), Table::new());
        for (key, value) in table {
            if TRAINING_KEYS.contains(&key.as_str()) {
                shared.insert(key, value);
            } else if is_known(&name, &key) || !is_default_of_another(&name, &key, &value)? {
                specific.insert(key, value);
            }
        }
        let training = shared.try_into().map_err(|error| format!("in `[strategy]`: {error}"))?;
        let kind = StrategyKind::from_table(&name, specific)
            .ok_or_else(|| format!("{name} is no strategy"))?
            .map_err(|error| format!("in `[strategy]`, of {name}: {error}"))?;
        Ok(Self { kind, training })
    }
}

/// Whether a strategy has a setting of this key.
fn is_known(name: &str, key: &str) -> bool {
    defaults(name).contains_key(key)
}

/// Whether the key is another strategy's, with its default value. Such a key changes nothing, and is accepted: manifests of
/// earlier runs list every strategy's settings.
///
/// # Errors
/// What to do about a key of another strategy with a value of its own.
fn is_default_of_another(name: &str, key: &str, value: &Value) -> Result<bool, String> {
    let owner = StrategyKind::NAMES.iter().find(|other| is_known(other, key));
    match owner {
        None => Ok(false),
        Some(owner) if defaults(owner).get(key) == Some(value) => Ok(true),
        Some(owner) => Err(format!(
            "`strategy.{key}` is a setting of {owner}, and `strategy.name` is {name}: leave it out, or set \
             `strategy.name = \"{owner}\"`"
        )),
    }
}

/// The settings of a strategy as a file would have them, at their defaults.
fn defaults(name: &str) -> Table {
    let default = StrategyKind::from_table(name, Table::new()).and_then(Result::ok);
    default.and_then(|kind| kind.to_table().ok()).unwrap_or_default()
}

impl From<StrategyConfig> for Table {
    fn from(config: StrategyConfig) -> Self {
        let mut table = Self::try_from(config.training).expect("settings are plain data");
        table.extend(config.kind.to_table().expect("settings are plain data"));
        table.insert("name".to_owned(), Value::String(config.kind.name().to_owned()));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PrivateTrainingConfig;

    #[test]
    fn the_keys_of_training_are_those_of_its_fields() {
        let all = MemberTrainingConfig {
            private: Some(PrivateTrainingConfig::default()),
            head_every: Some(1),
            ..MemberTrainingConfig::default()
        };
        let table = Table::try_from(all).expect("plain data");
        let mut keys = TRAINING_KEYS.to_vec();
        keys.sort_unstable();
        assert_eq!(table.keys().map(String::as_str).collect::<Vec<_>>(), keys);
    }

    #[test]
    fn every_strategy_is_read_as_it_was_written() {
        for name in StrategyKind::NAMES {
            let mut table = Table::new();
            table.insert("name".to_owned(), Value::String((*name).to_owned()));
            let config = StrategyConfig::try_from(table).expect("a strategy");
            assert_eq!(config.kind.name(), *name);
            assert_eq!(StrategyConfig::try_from(Table::from(config.clone())), Ok(config));
        }
    }
}
