//! `pop`

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use hyper::Method;

use super::ChangeArgs;
use super::context::Context;
use super::error::CliError;
use super::table::{Cell, Table};
use crate::control::api::{PatchPop, Pops};
use crate::control::client::quote;

/// Sites with nodes and backends.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb pop drain fra1")]
pub enum Pop {
    /// Show all PoPs that the configuration names
    #[command(after_help = "Example:\n  anycast-lb pop list")]
    List,
    /// Send a PoP's new flows to its first rescue PoP; those that it has live on
    #[command(
        after_help = "Example:\n  anycast-lb pop drain fra1      (on every node, before its routes are withdrawn)"
    )]
    Drain(Which),
    /// Give a drained PoP new flows again
    #[command(after_help = "Example:\n  anycast-lb pop undrain fra1")]
    Undrain(Which),
}

/// Names a PoP.
#[derive(Debug, Args)]
pub struct Which {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pop: String,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Pop {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Pop::List => context.show("/v1/pops", render_list).await,
            Pop::Drain(which) => patch_state(context, which, "drained").await,
            Pop::Undrain(which) => patch_state(context, which, "active").await,
        }
    }
}

async fn patch_state(context: &Context, which: Which, state: &str) -> Result<(), CliError> {
    let body = PatchPop { state: state.to_owned(), expect_generation: which.change.expect_generation };
    context.change(Method::PATCH, &format!("/v1/pops/{}", quote(&which.pop)), Some(&body)).await
}

fn render_list(answer: &Pops) -> String {
    let mut table = Table::new(&["POP", "STATE", ">BACKENDS", ">ACTIVE", ">RESCUES POOLS", "HERE"]);
    for pop in &answer.pops {
        table.row([
            Cell::from(&pop.pop),
            if pop.state == "active" { Cell::judged("active", true) } else { Cell::notable(&pop.state) },
            pop.backends.into(),
            pop.active.into(),
            pop.rescues.into(),
            Cell::from(if pop.own { "this node" } else { "" }),
        ]);
    }
    table.render("no PoPs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::PopRow;

    #[test]
    fn pops_are_listed_with_their_counts() {
        let row = |pop: &str, own, state: &str, rescues| PopRow {
            pop: pop.into(),
            own,
            state: state.into(),
            backends: 2,
            active: 1,
            rescues,
        };
        let answer = Pops { pops: vec![row("fra1", true, "drained", 0), row("sin1", false, "active", 3)] };
        let text = anstream::adapter::strip_str(&render_list(&answer)).to_string();
        assert_eq!(
            text.lines().map(str::trim_end).collect::<Vec<_>>(),
            [
                "POP   STATE    BACKENDS  ACTIVE  RESCUES POOLS  HERE",
                "fra1  drained         2       1              0  this node",
                "sin1  active          2       1              3",
            ]
        );
    }
}
