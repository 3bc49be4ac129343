//! `backend`

use std::net::IpAddr;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, value_parser};
use hyper::Method;

use super::ChangeArgs;
use super::context::Context;
use super::error::CliError;
use super::pool::render_members;
use crate::control::api::{AddBackend, Backends, PatchBackend};
use crate::control::client::quote;

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
    #[command(after_help = "Example:\n  anycast-lb backend add 10.0.0.13 --pool web --weight 50")]
    Add(Add),
    /// Remove a backend, with the flows it has
    #[command(after_help = "Examples:\n  \
        anycast-lb backend remove 10.0.0.13 --pool web\n  \
        anycast-lb backend remove 10.0.0.13               (from all pools)")]
    Remove(Which),
    /// Give a backend no new flows
    #[command(after_help = "Examples:\n  \
        anycast-lb backend drain 10.0.0.13\n  \
        anycast-lb backend drain 10.0.0.13 --pool web")]
    Drain(Which),
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
                    expect_generation: add.change.expect_generation,
                };
                context.change(Method::POST, "/v1/backends", Some(&body)).await
            }
            Backend::Remove(which) => {
                let mut path = format!("{}{}", path(which.address), which.change.query());
                if let Some(pool) = &which.pool {
                    path.push(if path.contains('?') { '&' } else { '?' });
                    path.push_str(&format!("pool={}", quote(pool)));
                }
                context.change::<()>(Method::DELETE, &path, None).await
            }
            Backend::Drain(which) => patch_state(context, which, "draining").await,
            Backend::Undrain(which) => patch_state(context, which, "active").await,
            Backend::Weight(w) => {
                let body = PatchBackend {
                    pool: w.pool,
                    weight: Some(w.weight),
                    state: None,
                    expect_generation: w.change.expect_generation,
                };
                context.change(Method::PATCH, &path(w.address), Some(&body)).await
            }
        }
    }
}

async fn patch_state(context: &Context, which: Which, state: &str) -> Result<(), CliError> {
    let body = PatchBackend {
        pool: which.pool,
        state: Some(state.to_owned()),
        weight: None,
        expect_generation: which.change.expect_generation,
    };
    context.change(Method::PATCH, &path(which.address), Some(&body)).await
}

fn path(address: IpAddr) -> String {
    format!("/v1/backends/{}", quote(&address.to_string()))
}
