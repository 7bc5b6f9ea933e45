//! The completions of the command line, in the shells that are installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use cofferdam_tests::Checkout;

/// Prints the completions of `cofferdam dead-l`.
const BASH: &str = r#"
source "$1"
function=$(complete -p cofferdam | sed 's/.* -F \([^ ]*\) .*/\1/')
COMP_WORDS=(cofferdam dead-l) COMP_CWORD=1
"$function" cofferdam dead-l cofferdam
printf '%s\n' "${COMPREPLY[@]}"
"#;

const FISH: &str = r#"
source $argv[1]
complete --do-complete "cofferdam dead-l"
"#;

/// Types the beginning of a command and a tab in a terminal. The command that is run as a consequence prints its arguments.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT=; fpath=(${(q)1:h} \$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w shell "cofferdam() { print -r -- \$* > ${(q)1:h}/typed; exit }"
zpty -n -w shell $'cofferdam dead-l\t\nexit\n'
while zpty -r shell answer; do :; done
cat $1:h/typed
"#;

/// Runs a script in a shell. `None` if the shell is not installed.
fn complete(folder: &Path, shell: &str, options: &[&str], file: &str, script: &str) -> Option<String> {
    if Command::new(shell).arg("--version").output().is_err() {
        eprintln!("{shell} is not installed, so its completions are not tested");
        return None;
    }
    let printed = Command::new(Checkout::current().cofferdam()).args(["completions", shell]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let (completions, program) = (folder.join(file), folder.join(format!("complete.{shell}")));
    fs::write(&completions, printed.stdout).unwrap();
    fs::write(&program, script).unwrap();
    let output = Command::new(shell).args(options).arg(program).arg(completions).current_dir(folder).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stderr.is_empty(), "{shell}: {stdout}{stderr}");
    Some(stdout.into_owned())
}

#[test]
fn a_command_is_completed_by_bash() {
    let folder = Checkout::current().fresh_dir("tests/completions-bash").unwrap();
    let completed = complete(&folder, "bash", &["--norc", "--noprofile"], "cofferdam.bash", BASH);
    assert!(completed.is_none_or(|words| words == "dead-letter\n"));
}

#[test]
fn a_command_is_completed_by_fish() {
    let folder = Checkout::current().fresh_dir("tests/completions-fish").unwrap();
    let completed = complete(&folder, "fish", &["--no-config"], "cofferdam.fish", FISH);
    assert!(completed.is_none_or(|words| words.lines().count() == 1 && words.starts_with("dead-letter\t")));
}

#[test]
fn a_command_is_completed_by_zsh() {
    let folder = Checkout::current().fresh_dir("tests/completions-zsh").unwrap();
    let completed = complete(&folder, "zsh", &["-f"], "_cofferdam", ZSH);
    assert!(completed.is_none_or(|words| words == "dead-letter\n"));
}
