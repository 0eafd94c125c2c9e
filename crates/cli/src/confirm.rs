//! Asking before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, Result, bail};

use crate::exit::usage;

#[derive(clap::Args)]
pub struct Consent {
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
}

impl Consent {
    /// Returns if the user agrees. Where nobody can be asked, `--yes` has to have been said.
    pub fn ask(&self, what: &str) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return usage(format!("{what}: nobody can be asked here; say --yes to do it"));
        }
        eprint!("{what}? [y/N] ");
        io::stderr().flush().context("ask")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("read the answer")?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => bail!("not agreed to; nothing was done"),
        }
    }
}
