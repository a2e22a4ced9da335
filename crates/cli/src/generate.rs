//! `cloister generate`: man pages and completions, from the same definitions as `--help`.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory, Subcommand};
use clap_complete::Shell;

use crate::Cli;
use crate::create::{create_folder, write};
use crate::failure::Failure;
use crate::output;

/// Flags of `cloister generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    #[command(subcommand)]
    command: GenerateCommand,
}

#[derive(Debug, Subcommand)]
enum GenerateCommand {
    /// Write a man page for each command into a folder, such as /usr/local/share/man/man1.
    Man {
        /// The folder.
        folder: PathBuf,
    },
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

pub(crate) fn run(arguments: &GenerateArguments) -> Result<(), Failure> {
    match &arguments.command {
        GenerateCommand::Man { folder } => {
            create_folder(folder)?;
            let mut command = Cli::command();
            // Fills in what subcommands inherit, such as flags that are global.
            command.build();
            write_pages(&command, "cloister", folder)
        }
        GenerateCommand::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "cloister", &mut script);
            output::print(String::from_utf8_lossy(&script))
        }
    }
}

/// Writes the page of a command and those of its subcommands, named as git names its pages.
fn write_pages(command: &Command, name: &str, folder: &Path) -> Result<(), Failure> {
    let mut page = Vec::new();
    // The name is used as the page's title; clap wants one that lives as long as the program.
    let titled = command.clone().name(name.to_owned());
    clap_mangen::Man::new(titled).render(&mut page).map_err(Failure::error)?;
    write(&folder.join(format!("{name}.1")), &page)?;
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        write_pages(subcommand, &format!("{name}-{}", subcommand.get_name()), folder)?;
    }
    Ok(())
}
