//! Completions for shells, and manual pages. Both are generated from the definition of the command line.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Cli;
use crate::error::{Result, data_dir_failed};

/// Prints the completions of a shell.
pub fn print_completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cofferdam", &mut script);
    // A closed stdout (`| head`) is not an error.
    let _ = std::io::stdout().lock().write_all(&script);
    Ok(())
}

/// Writes a manual page for each command: `cofferdam.1`, `cofferdam-run.1`, `cofferdam-job-show.1`.
pub fn write_man_pages(folder: &Path) -> Result<()> {
    let failed = |error: std::io::Error| data_dir_failed(format!("cannot write {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    /// Adds the names of all commands below a command.
    fn add_commands(command: &Command, found: &mut Vec<String>) {
        for sub in command.get_subcommands() {
            found.push(sub.get_name().to_owned());
            add_commands(sub, found);
        }
    }

    #[test]
    fn every_command_has_a_completion_and_a_manual_page() {
        let mut commands = Vec::new();
        add_commands(&Cli::command(), &mut commands);
        assert!(commands.len() > 20, "{commands:?}");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cofferdam", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in ["serve", "submit", "dead-letter", "check"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
        let folder = tempfile::tempdir().unwrap();
        write_man_pages(folder.path()).unwrap();
        for page in ["cofferdam.1", "cofferdam-run.1", "cofferdam-job-show.1"] {
            let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
            assert!(text.contains(".SH"), "{page}");
        }
        assert!(!folder.path().join("cofferdam-compile-component.1").exists(), "hidden commands have no page");
    }
}
