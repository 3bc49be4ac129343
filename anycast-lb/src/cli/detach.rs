//! `detach`

use std::io::Write;
use std::os::unix::net::UnixStream;

use clap::Args;
use serde::Serialize;

use super::ConfigArgs;
use super::check::load;
use super::context::{Context, print, print_line};
use super::error::CliError;
use super::table::counted;
use crate::control::api::Answer;
use crate::daemon::Failure;
use crate::dataplane::Dataplane;

/// Takes the data plane off the NICs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb detach\n  \
    anycast-lb detach --config lb.toml\n\n\
    Works with and without a daemon. One that runs forwards nothing any more: restart\n\
    it to attach again, or stop it.")]
pub struct Detach {
    #[command(flatten)]
    config: ConfigArgs,
}

/// What `detach --json` prints.
#[derive(Debug, Serialize)]
struct Detached {
    detached: Vec<String>,
}

impl Detach {
    pub(super) fn execute(self, context: &Context) -> Result<(), CliError> {
        let config = load(&self.config, context.json)?.config;
        let detached = Dataplane::detach(&config.bpffs, &config.instance)
            .map_err(|e| CliError::from(Failure::from(e)))?;
        if context.json {
            return print_line(
                &serde_json::to_string(&Answer::new(Detached { detached })).unwrap_or_default(),
            );
        }
        print(&render(&detached, &config.instance))?;
        if !detached.is_empty() && UnixStream::connect(&config.control.socket).is_ok() {
            let note = "note: the daemon still runs and forwards nothing now; restart it to attach again";
            // Nothing is left to be said when this fails too.
            let _ = writeln!(anstream::stderr(), "{note}, or stop it");
        }
        Ok(())
    }
}

/// Links by name; of the other pins the number says enough.
fn render(detached: &[String], instance: &str) -> String {
    if detached.is_empty() {
        return format!("instance {instance} is not attached\n");
    }
    let (links, pins): (Vec<&String>, Vec<&String>) = detached.iter().partition(|d| d.starts_with("link "));
    let links: String = links.iter().map(|link| format!("detached {link}\n")).collect();
    format!("{links}removed {}\n", counted(pins.len(), "other pin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_named_and_pins_counted() {
        assert_eq!(render(&[], "edge"), "instance edge is not attached\n");
        let detached = ["link on eth0 (/b/link-eth0)", "pin /b/maps/A", "pin /b/prog"].map(String::from);
        assert_eq!(render(&detached, "edge"), "detached link on eth0 (/b/link-eth0)\nremoved 2 other pins\n");
    }
}
