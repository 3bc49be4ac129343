//! What every command that talks to the daemon shares.

use std::future::Future;
use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::CliError;
use crate::control::api::Changed;
use crate::control::client::{Client, typed};

/// The daemon and the form of the output.
pub struct Context {
    /// Whom to ask.
    pub client: Client,
    /// Whether output is for programs.
    pub json: bool,
}

impl Context {
    /// For the daemon at `socket`.
    pub fn new(socket: &Path, json: bool) -> Self {
        Context { client: Client::new(socket), json }
    }

    /// Runs a command that waits for the daemon.
    ///
    /// # Errors
    /// Those of the command, or no runtime could be made.
    pub fn block_on(&self, work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| CliError::failed("io", format!("no runtime: {e}"), None))?
            .block_on(work)
    }

    /// Reads `path` and shows it: as it came to programs, by `render` to people.
    ///
    /// # Errors
    /// No daemon, or it refused.
    pub async fn show<T: DeserializeOwned>(
        &self,
        path: &str,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        let answer = self.client.get(path).await?;
        if self.json { print_line(&answer) } else { print(&render(&typed(&answer)?)) }
    }

    /// Asks for a change and shows what it did.
    ///
    /// # Errors
    /// No daemon, or it refused.
    pub async fn change<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(), CliError> {
        let answer = self.client.ask(method, path, body).await?;
        if self.json { print_line(&answer) } else { print(&render_changed(&typed(&answer)?)) }
    }
}

/// Prints text; colours go where they are wanted (`NO_COLOR`, not a terminal: nowhere).
///
/// # Errors
/// Standard output cannot be written. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::failed("io", format!("standard output: {e}"), None))
        }
        _ => Ok(()),
    }
}

/// Prints a line.
///
/// # Errors
/// As [`print`].
pub fn print_line(line: &str) -> Result<(), CliError> {
    print(&format!("{line}\n"))
}

/// What a change did, for people.
pub fn render_changed(changed: &Changed) -> String {
    let mut out = String::new();
    for change in &changed.changes {
        out.push_str(&format!("{} {} {}", change.subject, change.name, change.what));
        if !change.detail.is_empty() {
            out.push_str(&format!(": {}", change.detail));
        }
        out.push('\n');
    }
    if changed.changes.is_empty() {
        out.push_str("nothing changes\n");
    }
    if changed.dry_run {
        out.push_str(&format!("dry run: generation {} stays in force\n", changed.generation));
    } else {
        out.push_str(&format!("generation {}", changed.generation));
        if !changed.files.is_empty() {
            out.push_str(&format!(", written to {}", changed.files.join(", ")));
        }
        out.push('\n');
    }
    let yellow = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
    for warning in &changed.warnings {
        out.push_str(&format!("{yellow}warning:{yellow:#} {warning}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::ChangeRow;

    #[test]
    fn a_change_is_told_in_lines() {
        let row = ChangeRow {
            subject: "backend".into(),
            name: "web 10.0.0.13".into(),
            what: "changed".into(),
            detail: "weight 100 -> 50".into(),
        };
        let mut changed = Changed {
            generation: 4,
            dry_run: false,
            changes: vec![row],
            files: vec!["/etc/anycast-lb/config.toml".into()],
            warnings: Vec::new(),
        };
        assert_eq!(
            render_changed(&changed),
            "backend web 10.0.0.13 changed: weight 100 -> 50\n\
             generation 4, written to /etc/anycast-lb/config.toml\n"
        );
        changed.dry_run = true;
        changed.changes.clear();
        assert_eq!(render_changed(&changed), "nothing changes\ndry run: generation 4 stays in force\n");
    }
}
