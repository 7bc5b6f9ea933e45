//! `cargo xtask example NAME`: builds an example's component, runs its pipeline, and compares the result.

use std::process::Stdio;

use anyhow::Result;
use cofferdam_tests::Example;

use crate::workspace::{Workspace, step};

/// Number of lines shown per sink.
const SHOWN: usize = 12;

#[derive(clap::Args)]
pub struct Arguments {
    /// A folder of examples/. Without it the examples are listed
    name: Option<String>,
}

pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let checkout = &workspace.checkout;
    let Some(name) = &arguments.name else {
        for example in Example::all(checkout)? {
            println!("{:<18} {}", example.name, example.title()?);
        }
        return Ok(());
    };
    let example = Example::named(checkout, name)?;
    workspace.build(&[(name, &format!("examples/{name}"))])?;
    let dir = checkout.fresh_dir(&format!("example/{name}"))?;
    let outcome = step(&format!("run {name}: {}", example.title()?), || example.run(checkout, &dir, Stdio::inherit()))?;
    for (sink, lines) in &outcome.lines {
        println!("\nout/{sink}, {} lines:\n", lines.len());
        lines.iter().take(SHOWN).for_each(|line| println!("  {line}"));
        if lines.len() > SHOWN {
            println!("  ...");
        }
    }
    println!("\nThe pipeline, its input and its output: {}", checkout.shown(&dir));
    outcome.check()?;
    println!("The output equals examples/{name}/expected.");
    Ok(())
}
