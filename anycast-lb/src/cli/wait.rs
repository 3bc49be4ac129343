//! Waiting for a drain to end.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::context::{Context, print};
use super::error::CliError;
use crate::control::api::{BackendRow, Backends};
use crate::control::client::typed;

/// How often the daemon is asked.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Whose drain.
pub(super) struct Drain {
    pub address: IpAddr,
    /// In this pool; none = in all that have it.
    pub pool: Option<String>,
}

/// What an answer says of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    /// It is over, everywhere.
    Done,
    /// It goes on; the text says how far it is.
    Under(String),
    /// Somebody wants the backend back.
    Undone,
}

impl Drain {
    /// Waits until the backend is gone.
    ///
    /// # Errors
    /// `timeout` has passed, Ctrl-C, somebody ended the drain, or the daemon does not answer. The drain
    /// goes on but in the third case.
    pub async fn wait(&self, context: &Context, timeout: Option<Duration>) -> Result<(), CliError> {
        let limit = async {
            match timeout {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = self.follow(context) => result,
            () = limit => Err(self.left("wait_timeout", "it is not over in time")),
            _ = tokio::signal::ctrl_c() => Err(self.left("interrupted", "interrupted")),
        }
    }

    async fn follow(&self, context: &Context) -> Result<(), CliError> {
        let mut said = String::new();
        loop {
            let answer: Backends = typed(&context.client.get("/v1/backends").await?)?;
            match self.progress(&answer.backends) {
                Progress::Done if context.json => return Ok(()),
                Progress::Done => return print(&format!("{} is gone\n", self.address)),
                Progress::Undone => {
                    let message = format!("the drain of {} was ended by somebody", self.address);
                    return Err(CliError::failed(
                        "not_draining",
                        message,
                        Some("see: anycast-lb backend list"),
                    ));
                }
                Progress::Under(text) => {
                    if text != said && !context.json {
                        // Nobody who waits is helped by an error of this.
                        let _ = writeln!(anstream::stderr(), "{text}");
                        said = text;
                    }
                }
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn progress(&self, backends: &[BackendRow]) -> Progress {
        let is_meant = |row: &&BackendRow| {
            row.address == self.address && self.pool.as_deref().is_none_or(|pool| pool == row.pool)
        };
        let mut under = Vec::new();
        for row in backends.iter().filter(is_meant) {
            match row.state.as_str() {
                "gone" => {}
                "draining" => under.push(row),
                _ => return Progress::Undone,
            }
        }
        if under.is_empty() {
            return Progress::Done;
        }
        let lines = under.iter().map(|row| match (row.remaining, row.seconds_left) {
            (Some(flows), _) => format!("{}: {flows} flows left", row.pool),
            (None, Some(seconds)) => {
                format!("{}: draining, {} min at most", row.pool, seconds.div_ceil(60))
            }
            (None, None) => format!("{}: draining", row.pool),
        });
        Progress::Under(lines.collect::<Vec<_>>().join("; "))
    }

    fn left(&self, code: &str, why: &str) -> CliError {
        let address = self.address;
        let message = format!("{why}; the drain of {address} goes on");
        let hint = format!("see: anycast-lb backend list; to end it: anycast-lb backend undrain {address}");
        CliError::failed(code, message, Some(&hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::NextHopStatus;

    fn row(pool: &str, last: u8, state: &str, remaining: Option<u64>) -> BackendRow {
        BackendRow {
            pool: pool.into(),
            address: [10, 0, 0, last].into(),
            weight: 100,
            weight_in_force: 100,
            state: state.into(),
            configured: "draining".into(),
            seconds_left: (state == "draining").then_some(61),
            health: "unknown".into(),
            health_by: None,
            health_seconds: None,
            last_failure: None,
            remaining,
            pop: None,
            server_id: None,
            owned_slots: 0,
            share_ppm: 0,
            packets: 0,
            bytes: 0,
            next_hop: NextHopStatus::Pending { reason: "not looked up yet".into() },
        }
    }

    #[test]
    fn a_drain_is_over_when_it_is_over_in_every_pool_that_is_meant() {
        let rows = [
            row("web", 11, "gone", None),
            row("dns", 11, "draining", Some(7)),
            row("web", 12, "active", None),
        ];
        let progress = |pool: Option<&str>| {
            Drain { address: [10, 0, 0, 11].into(), pool: pool.map(str::to_owned) }.progress(&rows)
        };
        assert_eq!(progress(Some("web")), Progress::Done);
        assert_eq!(progress(None), Progress::Under("dns: 7 flows left".into()));
        let all = Drain { address: [10, 0, 0, 11].into(), pool: None };
        assert_eq!(all.progress(&[]), Progress::Done, "it was removed");
        let unknown = [row("web", 11, "draining", None)];
        assert_eq!(all.progress(&unknown), Progress::Under("web: draining, 2 min at most".into()));
        assert_eq!(all.progress(&[row("web", 11, "filling", None)]), Progress::Undone);
    }
}
