//! The page on the keys of a configuration has every key of the code, with its default, and no other.

use std::collections::{BTreeMap, BTreeSet};

use cloister_lab::Config;
use cloister_lab::config::{
    BaseModelConfig, DataConfig, HeadConfig, HeadNoise, MemberTrainingConfig, PartitionConfig,
    PrivateTrainingConfig, ScoringConfig, StrategyConfig,
};
use cloister_lab::strategy::StrategyKind;
use cloister_lab::sweep::SweepSettings;
use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

const PAGE: &str = include_str!("../experiments/configuration.md");
/// What every configuration has to say.
const LEAST: &str = "dataset = \"x\"\n[data]\ntrain = [\"x\"]\n";

/// Takes the names of a struct's fields from the code that reads it.
#[derive(Default)]
struct FieldNames(Vec<&'static str>);

impl<'de> Deserializer<'de> for &mut FieldNames {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("this is no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        self.0 = fields.to_vec();
        Err(Error::custom("the names are known"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The keys of a table, each after the table's name.
fn keys<'de, T: Deserialize<'de>>(table: &str) -> Vec<String> {
    let mut names = FieldNames::default();
    assert!(T::deserialize(&mut names).is_err());
    assert!(!names.0.is_empty(), "{table} has keys");
    names.0.iter().map(|name| format!("{table}{name}")).collect()
}

/// The keys of each strategy alone.
fn strategy_keys() -> BTreeMap<&'static str, Vec<String>> {
    let shared: BTreeSet<String> = keys::<MemberTrainingConfig>("").into_iter().collect();
    let mut all = BTreeMap::new();
    for name in StrategyKind::NAMES {
        let text = format!("name = \"{name}\"");
        let config: StrategyConfig = toml::from_str(&text).expect("a strategy");
        let table = toml::Table::from(config);
        let own_keys = table.keys().filter(|key| *key != "name" && !shared.contains(*key));
        all.insert(*name, own_keys.map(|key| format!("strategy.{key}")).collect());
    }
    all
}

/// A line of the page: the key, its default as TOML, and the strategy whose key it is.
struct Line {
    key: &'static str,
    default: Option<&'static str>,
    strategy: &'static str,
}

fn page() -> Vec<Line> {
    let mut lines = Vec::new();
    for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [key, default, strategy, meaning] = cells[..] else { panic!("four cells: {line}") };
        assert!(!meaning.is_empty(), "{line}");
        let default = default.strip_prefix('`').and_then(|default| default.strip_suffix('`'));
        lines.push(Line { key: key.trim_matches('`'), default, strategy });
    }
    lines
}

#[test]
fn the_page_has_the_keys_of_the_code() {
    let tables = ["data", "partition", "head", "model", "strategy", "scoring"];
    let mut expected: BTreeSet<String> =
        keys::<Config>("").into_iter().filter(|key| !tables.contains(&key.as_str())).collect();
    expected.extend(["rows".to_owned(), "strategy.name".to_owned()]);
    expected.extend(keys::<SweepSettings>("sweep."));
    expected.extend(keys::<DataConfig>("data."));
    expected.extend(keys::<PartitionConfig>("partition."));
    expected.extend(keys::<HeadConfig>("head."));
    expected.extend(keys::<HeadNoise>("head.noise."));
    expected.extend(keys::<BaseModelConfig>("model."));
    expected.extend(keys::<MemberTrainingConfig>("strategy."));
    expected.extend(keys::<PrivateTrainingConfig>("strategy.private."));
    expected.extend(keys::<ScoringConfig>("scoring."));
    let of_strategies = strategy_keys();
    expected.extend(of_strategies.values().flatten().cloned());
    let listed: Vec<Line> = page();
    let got: BTreeSet<String> = listed.iter().map(|line| line.key.to_owned()).collect();
    assert_eq!(got, expected);
    assert_eq!(listed.len(), got.len(), "each key once");
    for line in &listed {
        let strategies = of_strategies.iter().filter(|(_, keys)| keys.iter().any(|key| key == line.key));
        let names: Vec<&str> = strategies.map(|(name, _)| *name).collect();
        assert_eq!(names.join(", "), line.strategy, "{}", line.key);
    }
}

/// A configuration with these lines after the least ones, unchecked: tables stand alone here.
fn read(lines: &str) -> Config {
    toml::from_str(&format!("{LEAST}{lines}")).unwrap_or_else(|error| panic!("{lines}: {error}"))
}

/// Setting a key to the default that the page names changes nothing.
#[test]
fn the_page_has_the_defaults_of_the_code() {
    for Line { key, default, strategy } in page() {
        let Some(default) = default else { continue };
        let Some((table, name)) = key.rsplit_once('.') else {
            let text = format!("{key} = {default}\n{LEAST}");
            assert_eq!(toml::from_str::<Config>(&text).expect("it is read"), read(""), "{key}");
            continue;
        };
        let strategy = if strategy.is_empty() { "FedAvg" } else { strategy };
        let named = if table == "strategy" && name != "name" {
            format!("name = \"{strategy}\"\n")
        } else {
            String::new()
        };
        // `[data]` is open already.
        let header = if table == "data" { String::new() } else { format!("[{table}]\n") };
        let without = read(&format!("{header}{named}"));
        assert_eq!(read(&format!("{header}{named}{name} = {default}\n")), without, "{key}");
    }
}
