//! Configuration files: a TOML file with a long-running command's flags. It overrides the program's defaults;
//! environment variables override it, and flags override both.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command, Id};
use toml::{Table, Value};

use crate::failure::Failure;
use crate::folder::read_text;

/// The commands of this program that read a configuration file. The program without training passes `client` on as it is.
const COMMANDS: &[&str] =
    if cfg!(feature = "training") { &["server", "client", "custodian"] } else { &["server", "custodian"] };

/// A command whose defaults are those of the configuration file that the arguments name, if they name one.
pub(crate) fn with_defaults(command: Command, arguments: &[OsString]) -> Result<Command, Failure> {
    let name = arguments.get(1).and_then(|name| name.to_str());
    let Some(name) = name.filter(|name| COMMANDS.contains(name)) else { return Ok(command) };
    let Some((path, settings)) = read(arguments)? else { return Ok(command) };
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let Some(subcommand) = command.find_subcommand(name) else { return Ok(command) };
    let defaults = defaults(subcommand, &settings, &path, &folder)?;
    Ok(command.mut_subcommand(name, |subcommand| apply(subcommand, defaults)))
}

/// The file that `--config` or `CLOISTER_CONFIG` names.
fn config_path(arguments: &[OsString]) -> Option<PathBuf> {
    for (index, argument) in arguments.iter().enumerate() {
        let text = argument.to_string_lossy();
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(path.into());
        }
        if text == "--config" {
            return arguments.get(index + 1).map(PathBuf::from);
        }
    }
    std::env::var_os("CLOISTER_CONFIG").map(PathBuf::from)
}

/// The configuration file that the arguments name, and its settings.
pub(super) fn read(arguments: &[OsString]) -> Result<Option<(PathBuf, Table)>, Failure> {
    let Some(path) = config_path(arguments) else { return Ok(None) };
    match read_text(&path)?.parse() {
        Ok(settings) => Ok(Some((path, settings))),
        Err(error) => Err(Failure::config(format!("{}: {error}", path.display()))),
    }
}

/// The arguments that the file names, each with its values.
type Defaults = Vec<(Id, Vec<OsString>)>;

fn defaults(command: &Command, settings: &Table, path: &Path, folder: &Path) -> Result<Defaults, Failure> {
    let mut defaults = Vec::new();
    for (key, value) in settings {
        let flag = key.replace('_', "-");
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(&flag));
        let argument = argument.ok_or_else(|| unknown(command, path, key))?;
        let values = values(argument, value, folder).map_err(|expected| {
            let found = value.type_str();
            Failure::config(format!("{}: {key} must be {expected}, and is {found}", path.display()))
        })?;
        defaults.push((argument.get_id().clone(), values));
    }
    Ok(defaults)
}

/// Gives a command's arguments these defaults. What has one need not be given.
fn apply(mut command: Command, defaults: Defaults) -> Command {
    for (id, values) in defaults {
        command = command.mut_arg(id, |argument| argument.required(false).default_values(values));
    }
    command
}

fn unknown(command: &Command, path: &Path, key: &str) -> Failure {
    let known = command.get_arguments().filter_map(Arg::get_long).filter(|flag| !is_for_the_shell(flag));
    let mut known: Vec<String> = known.map(|flag| flag.replace('-', "_")).collect();
    known.sort_unstable();
    Failure::config(format!(
        "{}: unknown setting {key}; the settings of `cloister {}` are {}",
        path.display(),
        command.get_name(),
        known.join(", ")
    ))
}

/// Whether a flag makes no sense in a file.
fn is_for_the_shell(flag: &str) -> bool {
    ["config", "help", "version"].contains(&flag)
}

/// A setting's values as the command line would have them, or what was expected.
fn values(argument: &Arg, value: &Value, folder: &Path) -> Result<Vec<OsString>, &'static str> {
    if argument.get_long().is_none_or(is_for_the_shell) {
        return Err("given on the command line");
    }
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    if is_switch != value.is_bool() {
        return Err(if is_switch { "true or false" } else { "a text, a number, or a list of them" });
    }
    let items = match value {
        Value::Array(items) if matches!(argument.get_action(), ArgAction::Append) => items.iter().collect(),
        Value::Array(_) => return Err("one value"),
        value => vec![value],
    };
    items.into_iter().map(|item| written(item, is_path(argument.get_value_parser()), folder)).collect()
}

fn is_path(parser: &ValueParser) -> bool {
    parser.type_id() == TypeId::of::<PathBuf>()
}

fn written(value: &Value, is_path: bool, folder: &Path) -> Result<OsString, &'static str> {
    Ok(match value {
        // `join` keeps an absolute path.
        Value::String(text) if is_path => folder.join(text).into(),
        Value::String(text) => text.into(),
        Value::Integer(number) => number.to_string().into(),
        Value::Float(number) => number.to_string().into(),
        Value::Boolean(switch) => switch.to_string().into(),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            return Err("a text, a number, or a list of them");
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Cli;

    fn parse(config: &str, flags: &[&str]) -> Result<clap::ArgMatches, String> {
        let table: Table = config.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let command = Cli::command();
        let server = command.find_subcommand("server").expect("the command");
        let (path, folder) = (Path::new("/etc/x/server.toml"), Path::new("/etc/x"));
        let defaults = defaults(server, &table, path, folder).map_err(|failure| failure.to_string())?;
        let command = command.mut_subcommand("server", |server| apply(server, defaults));
        let arguments = ["cloister", "server"].iter().chain(flags);
        command.try_get_matches_from(arguments).map_err(|error| error.to_string())
    }

    const WHOLE: &str = "consortium = 'consortium.toml'\nidentity = '/id'\nsettings = 's'\nmodel = 'm'\ndata = 'd'\n\
                         num_rounds = 7\nuntil_finished = true\n";

    #[test]
    fn a_file_gives_every_flag_and_flags_override_it() {
        let matches = parse(WHOLE, &["--model", "other"]).expect("a whole configuration");
        let server = matches.subcommand_matches("server").expect("the command");
        let path = |name| server.get_one::<PathBuf>(name).expect("given").display().to_string();
        assert_eq!(path("consortium"), "/etc/x/consortium.toml", "relative to the file");
        assert_eq!((path("identity"), path("model")), ("/id".to_owned(), "other".to_owned()));
        assert_eq!(server.get_one::<std::num::NonZeroU64>("num_rounds").map(|it| it.get()), Some(7));
        assert!(server.get_flag("until_finished"));
    }

    #[test]
    fn unknown_settings_and_wrong_kinds_are_refused_by_name() {
        for (line, says) in [
            ("num_round = 7", "unknown setting num_round; the settings of `cloister server` are"),
            ("until_finished = 'yes'", "until_finished must be true or false, and is string"),
            ("listen = ['a', 'b']", "listen must be one value"),
            ("config = 'x'", "config must be given on the command line"),
            ("num_rounds = true", "num_rounds must be a text, a number"),
        ] {
            let refused = parse(line, &[]).expect_err(line);
            assert!(refused.contains(says), "{refused}");
        }
        let missing = parse("consortium = 'c'", &[]).expect_err("the rest is missing");
        assert!(missing.contains("--identity") && !missing.contains("--consortium <"), "{missing}");
    }
}
