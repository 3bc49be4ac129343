//! `vip`

use clap::{Args, Subcommand};
use hyper::Method;

use super::ChangeArgs;
use super::context::Context;
use super::error::CliError;
use super::table::{Cell, Table};
use crate::control::api::{AddVip, VipRow, Vips};
use crate::control::client::quote;
use crate::model::VipKey;

/// Service addresses.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb vip add 203.0.113.1:443/tcp --pool web")]
pub enum Vip {
    /// Show all VIPs
    #[command(after_help = "Example:\n  anycast-lb vip list")]
    List,
    /// Add a VIP to a pool
    #[command(after_help = "Examples:\n  \
        anycast-lb vip add 203.0.113.1:443/tcp --pool web\n  \
        anycast-lb vip add '[2001:db8::1]:443/tcp' --pool web\n  \
        anycast-lb vip add '203.0.113.1:*/udp' --pool voice     (every port)\n  \
        anycast-lb vip add 203.0.113.9/any --pool router        (every protocol)\n  \
        anycast-lb vip add 203.0.113.53:53/udp --pool dns --identity node\n  \
        anycast-lb vip add 203.0.113.1:443/udp --pool web --quic")]
    Add(Add),
    /// Remove a VIP
    #[command(after_help = "Example:\n  anycast-lb vip remove 203.0.113.1:443/tcp")]
    Remove(Remove),
}

/// Adds a VIP.
#[derive(Debug, Args)]
pub struct Add {
    /// ADDRESS:PORT/PROTOCOL
    vip: VipKey,
    /// Pool that serves it
    #[arg(long, value_name = "NAME")]
    pool: String,
    /// What decides about a packet's backend: 5-tuple (default), source, source-and-port,
    /// destination-port
    #[arg(long, value_name = "PARTS")]
    hash: Option<String>,
    /// Its packets are QUIC, and connection IDs name the backend (see `backend list --json` for server IDs)
    #[arg(long)]
    quic: bool,
    /// Lower the MSS of clients' SYNs to what fits the tunnel
    #[arg(long)]
    mss_clamp: bool,
    /// What it tells those who ask by DNS who serves them: off (default), node, backend
    #[arg(long, value_name = "WHAT")]
    identity: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Removes a VIP.
#[derive(Debug, Args)]
pub struct Remove {
    /// ADDRESS:PORT/PROTOCOL
    vip: VipKey,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Vip {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Vip::List => context.show("/v1/vips", render).await,
            Vip::Add(add) => {
                let body = AddVip {
                    vip: add.vip,
                    pool: add.pool,
                    hash: add.hash,
                    quic: add.quic,
                    mss_clamp: add.mss_clamp,
                    identity: add.identity,
                    expect_generation: add.change.expect_generation,
                };
                context.change(Method::POST, "/v1/vips", Some(&body)).await
            }
            Vip::Remove(remove) => {
                let path = format!("/v1/vips/{}{}", quote(&remove.vip.to_string()), remove.change.query());
                context.change::<()>(Method::DELETE, &path, None).await
            }
        }
    }
}

/// What decides about a packet's backend.
fn hash(vip: &VipRow) -> String {
    if vip.quic { format!("connection ID, {}", vip.hash) } else { vip.hash.clone() }
}

fn render(answer: &Vips) -> String {
    let identities = answer.vips.iter().any(|vip| !matches!(vip.identity.as_str(), "" | "off"));
    let mut headings = vec!["VIP", "POOL", "HASH", "SECOND CHANCE", "MSS CLAMP"];
    headings.extend(identities.then_some("IDENTITY"));
    headings.extend([">PACKETS", ">BYTES"]);
    let mut table = Table::new(&headings);
    let yes_no = |yes| Cell::from(if yes { "yes" } else { "no" });
    for vip in &answer.vips {
        let mut row = vec![
            vip.vip.into(),
            Cell::from(vip.pool.as_deref().unwrap_or("-")),
            Cell::from(hash(vip)),
            yes_no(vip.second_chance),
            yes_no(vip.mss_clamp),
        ];
        row.extend(identities.then(|| Cell::from(&vip.identity)));
        row.extend([vip.packets.into(), vip.bytes.into()]);
        table.push(row);
    }
    table.render("no VIPs: anycast-lb vip add ADDRESS:PORT/PROTOCOL --pool NAME")
}
