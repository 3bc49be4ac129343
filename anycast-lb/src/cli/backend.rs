//! `backend`

use std::net::IpAddr;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use clap::{Args, Subcommand, value_parser};
use hyper::Method;

use super::ChangeArgs;
use super::context::{Context, print, print_line, render_changed};
use super::error::CliError;
use super::pool::render_members;
use super::wait;
use crate::config::parse_duration;
use crate::control::api::{AddBackend, Backends, PatchBackend};
use crate::control::client::{quote, typed};

/// Smallest and largest weight of the configuration language.
const WEIGHTS: std::ops::RangeInclusive<i64> = 1..=65_535;

/// Servers.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb backend drain 10.0.0.11")]
pub enum Backend {
    /// Show all backends of all pools
    #[command(after_help = "Example:\n  anycast-lb backend list")]
    List,
    /// Add a backend to a pool
    #[command(after_help = "Examples:\n  \
        anycast-lb backend add 10.0.0.13 --pool web --weight 50\n  \
        anycast-lb backend add 10.1.0.13 --pool web --pop sin1      (on the nodes of every PoP)")]
    Add(Add),
    /// Remove a backend that holds no flows, or, with --now, any
    #[command(after_help = "Examples:\n  \
        anycast-lb backend remove 10.0.0.13 --pool web\n  \
        anycast-lb backend remove 10.0.0.13               (from all pools)\n  \
        anycast-lb backend remove 10.0.0.13 --now         (its flows break)\n\n\
        Without --now it must hold no flows: it is gone, draining and says that none is left, filling for\n\
        the first time, or down for so long that it is listed no more. Else drain it first.")]
    Remove(Remove),
    /// Let a backend keep its flows and give it no new ones, until none is left or its time is over
    #[command(after_help = "Examples:\n  \
        anycast-lb backend drain 10.0.0.13\n  \
        anycast-lb backend drain 10.0.0.13 --pool web\n  \
        anycast-lb backend drain 10.0.0.13 --wait --timeout 60s && reboot")]
    Drain(Drain),
    /// Say how a backend is, whatever its checks say; holds until it is taken back or the daemon starts anew
    #[command(after_help = "Examples:\n  \
        anycast-lb backend health 10.0.0.13 down\n  \
        anycast-lb backend health 10.0.0.13 unknown --pool web    (takes it back: the checks decide again)\n\n\
        What is said counts more than any check. Without checks, `unknown` counts as healthy.")]
    Health(Health),
    /// Give a drained backend new flows again
    #[command(after_help = "Example:\n  anycast-lb backend undrain 10.0.0.13")]
    Undrain(Which),
    /// Change a backend's share
    #[command(after_help = "Example:\n  anycast-lb backend weight 10.0.0.13 50 --pool web")]
    Weight(Weight),
}

/// Adds a backend.
#[derive(Debug, Args)]
pub struct Add {
    /// Its address
    address: IpAddr,
    /// Pool to add it to
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pool: String,
    /// Share relative to the others, 1 to 65535 (default 100)
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(WEIGHTS))]
    weight: Option<u32>,
    /// Its site (default: the node's own)
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pop: Option<String>,
    /// ID of its QUIC server in hexadecimal digits (default: one made from the address)
    #[arg(long, value_name = "HEX", value_parser = NonEmptyStringValueParser::new())]
    server_id: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Names a backend.
#[derive(Debug, Args)]
pub struct Which {
    /// Its address
    address: IpAddr,
    /// Only in this pool; without it, in all pools that have the backend
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pool: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Removes a backend.
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    which: Which,
    /// Remove it although it may hold flows: they break
    #[arg(long)]
    now: bool,
}

/// Drains a backend.
#[derive(Debug, Args)]
pub struct Drain {
    #[command(flatten)]
    which: Which,
    /// Wait until it is gone; Ctrl-C ends the waiting, not the drain
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = time)]
    timeout: Option<Duration>,
}

/// Says how a backend is.
#[derive(Debug, Args)]
pub struct Health {
    /// Its address
    address: IpAddr,
    /// How it is
    #[arg(value_parser = PossibleValuesParser::new(["up", "down", "unknown"]))]
    health: String,
    /// Only in this pool; without it, in all pools that have the backend
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
}

/// Changes a weight.
#[derive(Debug, Args)]
pub struct Weight {
    /// Its address
    address: IpAddr,
    /// Share relative to the others, 1 to 65535
    #[arg(value_parser = value_parser!(u32).range(WEIGHTS))]
    weight: u32,
    /// Only in this pool; without it, in all pools that have the backend
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pool: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Backend {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Backend::List => {
                context.show("/v1/backends", |a: &Backends| render_members(&a.backends, true)).await
            }
            Backend::Add(add) => {
                let body = AddBackend {
                    pool: add.pool,
                    address: add.address,
                    weight: add.weight,
                    pop: add.pop,
                    server_id: add.server_id,
                    expect_generation: add.change.expect_generation,
                };
                context.change(Method::POST, "/v1/backends", Some(&body)).await
            }
            Backend::Remove(remove) => context.change::<()>(Method::DELETE, &remove.path(), None).await,
            Backend::Drain(Drain { which, wait: false, .. }) => patch_state(context, which, "draining").await,
            Backend::Drain(drain) => drain.execute_and_wait(context).await,
            Backend::Health(h) => {
                let body = PatchBackend { pool: h.pool, health: Some(h.health), ..PatchBackend::default() };
                context.change(Method::PATCH, &path(h.address), Some(&body)).await
            }
            Backend::Undrain(which) => patch_state(context, which, "active").await,
            Backend::Weight(w) => {
                let body = PatchBackend {
                    pool: w.pool,
                    weight: Some(w.weight),
                    expect_generation: w.change.expect_generation,
                    ..PatchBackend::default()
                };
                context.change(Method::PATCH, &path(w.address), Some(&body)).await
            }
        }
    }
}

impl Remove {
    fn path(&self) -> String {
        let Which { address, pool, change } = &self.which;
        let mut query: Vec<String> = pool.iter().map(|pool| format!("pool={}", quote(pool))).collect();
        query.extend(change.expect_generation.map(|n| format!("expect_generation={n}")));
        query.extend(self.now.then(|| "now=true".to_owned()));
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", path(*address), query.join("&"))
    }
}

impl Drain {
    /// Programs get their one object, that of the change, when the drain is over.
    async fn execute_and_wait(self, context: &Context) -> Result<(), CliError> {
        let drain = wait::Drain { address: self.which.address, pool: self.which.pool.clone() };
        let path = path(self.which.address);
        let answer = context.client.ask(Method::PATCH, &path, Some(&state(self.which, "draining"))).await?;
        if !context.json {
            print(&render_changed(&typed(&answer)?))?;
        }
        drain.wait(context, self.timeout).await?;
        if context.json { print_line(&answer) } else { Ok(()) }
    }
}

async fn patch_state(context: &Context, which: Which, word: &str) -> Result<(), CliError> {
    let path = path(which.address);
    context.change(Method::PATCH, &path, Some(&state(which, word))).await
}

fn state(which: Which, word: &str) -> PatchBackend {
    PatchBackend {
        pool: which.pool,
        state: Some(word.to_owned()),
        expect_generation: which.change.expect_generation,
        ..PatchBackend::default()
    }
}

/// A time of the configuration language.
fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a time looks like 500ms, 60s, 30m, 2h or 1d".to_owned())
}

fn path(address: IpAddr) -> String {
    format!("/v1/backends/{}", quote(&address.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_carries_its_conditions() {
        let removal = |pool: Option<&str>, expect_generation, now| {
            let which = Which {
                address: [10, 0, 0, 13].into(),
                pool: pool.map(str::to_owned),
                change: ChangeArgs { expect_generation },
            };
            Remove { which, now }.path()
        };
        assert_eq!(removal(None, None, false), "/v1/backends/10.0.0.13");
        assert_eq!(
            removal(Some("a b"), Some(3), true),
            "/v1/backends/10.0.0.13?pool=a%20b&expect_generation=3&now=true"
        );
    }
}
