//! `flows`

use clap::Args;

use super::context::Context;
use super::error::CliError;
use super::table::{Cell, Table};
use crate::control::api;

/// Counts the flows that this backend's kernel holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  anycast-lb flows\n  anycast-lb flows --json\n\n\
    On a backend host: TCP connections of each VIP (neither listening nor in TIME_WAIT) and its\n\
    connected UDP sockets. A drain waits until none are left.")]
pub struct Flows {}

impl Flows {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        context.show("/v1/flows", render).await
    }
}

fn render(answer: &api::Flows) -> String {
    let mut table = Table::new(&["VIP", ">TCP", ">UDP"]);
    for row in &answer.vips {
        table.row([Cell::from(row.vip.to_string()), row.tcp.into(), row.udp.into()]);
    }
    let total = format!("\n{} flows\n", answer.total);
    table.render("no VIPs") + if answer.vips.is_empty() { "" } else { &total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_shown_by_vip_with_their_sum() {
        let row = |vip: &str, tcp, udp| api::VipFlows { vip: vip.parse().expect("a VIP"), tcp, udp };
        let vips = vec![row("203.0.113.1:443/tcp", 1200, 0), row("203.0.113.53/any", 3, 40)];
        let text = anstream::adapter::strip_str(&render(&api::Flows { total: 1243, vips })).to_string();
        assert_eq!(
            text,
            "VIP                   TCP  UDP\n\
             203.0.113.1:443/tcp  1200    0\n\
             203.0.113.53/any        3   40\n\
             \n\
             1243 flows\n"
        );
    }
}
