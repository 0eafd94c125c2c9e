//! `ottla completion` and `ottla man`: what shells and readers of manuals are told about all commands.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Command;

#[derive(clap::Args)]
pub struct CompletionArgs {
    /// Whose syntax
    shell: clap_complete::Shell,
}

#[derive(clap::Args)]
pub struct ManArgs {
    /// Where the pages are written, one for each command
    directory: PathBuf,
}

/// Prints a script for the shell to source.
pub fn completion(args: &CompletionArgs, mut command: Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "ottla", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// Writes `ottla.1`, `ottla-topics.1`, `ottla-topics-list.1` and so on.
pub fn man(args: &ManArgs, command: Command) -> Result<()> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    page(directory, &command, "ottla").with_context(|| format!("write into {}", directory.display()))
}

fn page(directory: &Path, command: &Command, name: &str) -> Result<()> {
    let mut text = Vec::new();
    let own = command.clone().name(leak(name));
    clap_mangen::Man::new(own).render(&mut text)?;
    std::fs::write(directory.join(format!("{name}.1")), text)?;
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        page(directory, child, &format!("{name}-{}", child.get_name()))?;
    }
    Ok(())
}

/// Clap keeps names for as long as the process lives, which here is not long.
fn leak(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}
