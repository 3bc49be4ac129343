//! `completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::context::{Context, print};
use super::error::CliError;

/// Prints completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anycast-lb completions bash > /etc/bash_completion.d/anycast-lb")]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(&self, _: &Context) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "anycast-lb", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}
