//! `pool`

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use clap::{Args, Subcommand};
use hyper::Method;

use super::ChangeArgs;
use super::context::Context;
use super::error::CliError;
use super::table::{Cell, Table, counted, percent};
use crate::control::api::{AddPool, BackendRow, NextHopStatus, PoolDetail, Pools};
use crate::control::client::quote;

/// Sets of backends that share one table.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb pool show web")]
pub enum Pool {
    /// Show all pools
    #[command(after_help = "Example:\n  anycast-lb pool list")]
    List,
    /// Show a pool and its members
    #[command(after_help = "Example:\n  anycast-lb pool show web")]
    Show {
        /// Its name
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        pool: String,
    },
    /// Add an empty pool
    #[command(after_help = "Example:\n  anycast-lb pool add web --encapsulation gue")]
    Add(Add),
    /// Remove a pool that no VIP uses
    #[command(after_help = "Example:\n  anycast-lb pool remove web")]
    Remove(Remove),
}

/// Adds a pool.
#[derive(Debug, Args)]
pub struct Add {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pool: String,
    /// How packets reach its backends
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(["gue", "ipip", "l2"]))]
    encapsulation: Option<String>,
    /// How its table is filled
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(["rendezvous", "maglev"]))]
    table: Option<String>,
    /// Slots of its table, a power of two: a hundred for each backend it will ever have, or more
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Removes a pool.
#[derive(Debug, Args)]
pub struct Remove {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pool: String,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Pool {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Pool::List => context.show("/v1/pools", render_list).await,
            Pool::Show { pool } => context.show(&format!("/v1/pools/{}", quote(&pool)), render_detail).await,
            Pool::Add(add) => {
                let body = AddPool {
                    pool: add.pool,
                    encapsulation: add.encapsulation,
                    table: add.table,
                    slots: add.slots,
                    expect_generation: add.change.expect_generation,
                };
                context.change(Method::POST, "/v1/pools", Some(&body)).await
            }
            Pool::Remove(remove) => {
                let path = format!("/v1/pools/{}{}", quote(&remove.pool), remove.change.query());
                context.change::<()>(Method::DELETE, &path, None).await
            }
        }
    }
}

fn render_list(answer: &Pools) -> String {
    let mut table =
        Table::new(&["POOL", "ENCAP", "TABLE", ">SLOTS", ">VIPS", ">ACTIVE", "SERVICE", "OWNERS"]);
    for pool in &answer.pools {
        table.row([
            Cell::from(&pool.pool),
            Cell::from(&pool.encapsulation),
            Cell::from(&pool.table),
            pool.slots.into(),
            pool.vips.into(),
            active_cell(pool.active, pool.backends),
            service_cell(&pool.service),
            Cell::from(&pool.owners),
        ]);
    }
    table.render("no pools; on an ingress node: anycast-lb pool add NAME")
}

/// How many backends take new flows, of all.
fn active_cell(active: usize, all: usize) -> Cell {
    let text = format!("{active} of {all}");
    if active == 0 { Cell::judged(&text, false) } else { Cell::from(&text) }
}

fn render_detail(answer: &PoolDetail) -> String {
    let row = &answer.row;
    let heading = format!(
        "pool {}: {}, {} table of {} slots, {}, owners {}\n",
        row.pool,
        row.encapsulation,
        row.table,
        row.slots,
        counted(row.vips, "VIP"),
        row.owners
    );
    let enough = match row.service.as_str() {
        "healthy" => String::new(),
        "kept" => format!(", too few ({} needed): served as if all were healthy", row.minimum_healthy),
        _ => format!(", too few ({} needed): not to be announced", row.minimum_healthy),
    };
    let check = row.check.as_deref().unwrap_or("none");
    let health = format!("checks: {check}\nhealthy: {} of {}{enough}\n\n", row.active, row.backends);
    heading + &health + &render_members(&answer.members, false) + &render_failures(&answer.members)
}

/// Why those that are down are.
fn render_failures(members: &[BackendRow]) -> String {
    let down = members.iter().filter(|m| m.health == "down");
    let line = |m: &BackendRow| {
        let time = m.health_seconds.map_or_else(String::new, |s| format!(" for {}", time_left(s)));
        let why = match (m.health_by.as_deref(), m.last_failure.as_deref()) {
            (Some("hand"), _) => "somebody said so (to end that: backend health ADDRESS unknown)",
            (_, Some(reason)) => reason,
            _ => "no reason is known",
        };
        format!("{} is down{time}: {why}\n", m.address)
    };
    let lines: String = down.map(line).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// Whether a pool is served, painted.
pub(super) fn service_cell(service: &str) -> Cell {
    match service {
        "healthy" => Cell::judged(service, true),
        "kept" => Cell::notable(service),
        _ => Cell::judged(service, false),
    }
}

/// Members of one pool, or (`with_pool`) of several.
pub(super) fn render_members(members: &[BackendRow], with_pool: bool) -> String {
    let backend =
        if members.iter().any(|m| m.server_id.is_some()) { "BACKEND (SERVER ID)" } else { "BACKEND" };
    let headings = ["POOL", backend, ">WEIGHT", "STATE", ">SHARE", ">PACKETS", ">BYTES", "NEXT HOP"];
    let mut table = Table::new(if with_pool { &headings } else { &headings[1..] });
    for member in members {
        let cells = [
            backend_cell(member),
            weight_cell(member),
            state_cell(member),
            percent(member.share_ppm).into(),
            member.packets.into(),
            member.bytes.into(),
            next_hop_cell(&member.next_hop),
        ];
        if with_pool {
            let [a, b, c, d, e, f, g] = cells;
            table.row([Cell::from(&member.pool), a, b, c, d, e, f, g]);
        } else {
            table.row(cells);
        }
    }
    table.render("no backends; on an ingress node: anycast-lb backend add ADDRESS --pool NAME")
}

/// The address, and how connection IDs name it.
fn backend_cell(member: &BackendRow) -> Cell {
    match &member.server_id {
        Some(id) => Cell::from(format!("{} ({id})", member.address)),
        None => member.address.into(),
    }
}

/// The weight, and beside it the raised one that is not in force yet.
fn weight_cell(member: &BackendRow) -> Cell {
    if member.weight == member.weight_in_force {
        return member.weight.into();
    }
    Cell::notable(format!("{} -> {}", member.weight_in_force, member.weight))
}

/// The state in force, how long it lasts and what it waits for, or that the backend is down.
pub(super) fn state_cell(member: &BackendRow) -> Cell {
    if member.health == "down" && member.state != "gone" {
        return Cell::judged(format!("{}, down", member.state), false);
    }
    let mut text = member.state.clone();
    if let Some(flows) = member.remaining {
        text.push_str(&format!(", {flows} flows"));
    }
    if let Some(seconds) = member.seconds_left {
        text.push_str(&format!(", {}", time_left(seconds)));
    }
    if text == "active" { Cell::judged(text, true) } else { Cell::notable(text) }
}

/// `7 s`, or whole minutes where seconds do not matter.
pub(super) fn time_left(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    if seconds < 2 * MINUTE { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(MINUTE)) }
}

fn next_hop_cell(hop: &NextHopStatus) -> Cell {
    match hop {
        NextHopStatus::Resolved { interface, mac, .. } => Cell::from(format!("{mac} on {interface}")),
        NextHopStatus::Unresolved { reason } => Cell::judged(format!("none: {reason}"), false),
        NextHopStatus::Pending { reason } => Cell::notable(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::PoolRow;

    fn member(last: u8, state: &str, next_hop: NextHopStatus) -> BackendRow {
        BackendRow {
            pool: "web".into(),
            address: [10, 0, 0, last].into(),
            weight: 100,
            weight_in_force: 100,
            state: state.into(),
            configured: state.into(),
            seconds_left: (state == "draining").then_some(1741),
            health: "unknown".into(),
            health_by: None,
            health_seconds: None,
            last_failure: None,
            remaining: (state == "draining").then_some(7),
            pop: None,
            server_id: None,
            owned_slots: 512,
            share_ppm: 500_000,
            packets: 6,
            bytes: 600,
            next_hop,
        }
    }

    #[test]
    fn a_pool_is_shown_with_its_members() {
        let answer = PoolDetail {
            row: PoolRow {
                pool: "web".into(),
                encapsulation: "gue".into(),
                table: "rendezvous".into(),
                slots: 1024,
                vips: 1,
                backends: 2,
                active: 1,
                service: "healthy".into(),
                minimum_healthy: 1,
                check: Some("tcp via direct".into()),
                owners: "00c0ffee".into(),
            },
            members: vec![
                member(
                    11,
                    "active",
                    NextHopStatus::Resolved {
                        interface: "eth0".into(),
                        mac: "02:00:00:00:00:0b".into(),
                        mtu: 1500,
                    },
                ),
                member(12, "draining", NextHopStatus::Unresolved { reason: "no route".into() }),
            ],
        };
        let text = anstream::adapter::strip_str(&render_detail(&answer)).to_string();
        assert_eq!(
            text,
            "pool web: gue, rendezvous table of 1024 slots, 1 VIP, owners 00c0ffee\n\
             checks: tcp via direct\nhealthy: 1 of 2\n\n\
             BACKEND    WEIGHT  STATE                        SHARE  PACKETS  BYTES  NEXT HOP\n\
             10.0.0.11     100  active                     50.00 %        6    600  02:00:00:00:00:0b on eth0\n\
             10.0.0.12     100  draining, 7 flows, 30 min  50.00 %        6    600  none: no route\n"
        );
    }

    #[test]
    fn who_is_down_is_told_why() {
        let mut row = member(11, "active", NextHopStatus::Pending { reason: String::new() });
        row.health = "down".into();
        row.health_by = Some("check".into());
        row.health_seconds = Some(75);
        row.last_failure = Some("status 503, expected [200]".into());
        assert_eq!(
            render_failures(std::slice::from_ref(&row)),
            "\n10.0.0.11 is down for 75 s: status 503, expected [200]\n"
        );
        row.health_by = Some("hand".into());
        assert!(render_failures(std::slice::from_ref(&row)).contains("somebody said so"));
        row.health = "up".into();
        assert_eq!(render_failures(&[row]), "");
    }

    #[test]
    fn what_is_on_its_way_is_told_with_the_time_it_takes() {
        let shown = |change: fn(&mut BackendRow)| {
            let mut row = member(11, "active", NextHopStatus::Pending { reason: String::new() });
            change(&mut row);
            render_members(&[row], false)
        };
        let plain = |text: String| anstream::adapter::strip_str(&text).to_string();
        let text = plain(shown(|r| (r.weight, r.seconds_left) = (200, Some(7))));
        assert!(text.contains("100 -> 200  active, 7 s "), "{text}");
        let text = plain(shown(|r| r.server_id = Some("0a0b0c".into())));
        assert!(text.starts_with("BACKEND (SERVER ID) ") && text.contains("10.0.0.11 (0a0b0c) "), "{text}");
        let text = plain(shown(|r| "down".clone_into(&mut r.health)));
        assert!(text.contains("active, down"), "{text}");
        let text = plain(shown(|r| "gone".clone_into(&mut r.state)));
        assert!(text.contains(" gone "), "{text}");
    }
}
