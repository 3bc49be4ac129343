//! The command line: one file a noun. Tables for people, `--json` for programs.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod announce;
mod backend;
mod bgp;
mod capture;
mod check;
mod completions;
mod context;
mod detach;
mod error;
mod explain;
mod flows;
mod hijack;
mod log;
mod logging;
mod node;
mod observing;
mod peer;
mod pool;
mod pop;
mod record;
mod reload;
mod rpki;
mod run;
mod simulate;
mod stats;
mod status;
mod table;
mod top;
mod trace;
mod vip;
mod wait;
mod watch;
mod whoami;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use context::Context;
use error::CliError;

use crate::config::Overrides;

/// Where the configuration lies unless told otherwise.
const DEFAULT_CONFIG: &str = "/etc/anycast-lb/config.toml";
/// Where the daemon listens unless told otherwise.
const DEFAULT_SOCKET: &str = "/run/anycast-lb/control.sock";

/// Anycast ingress load balancer: XDP data plane, controller and command line in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "anycast-lb",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    term_width = table::LINE,
    after_help = "Examples:\n  \
        anycast-lb check --config /etc/anycast-lb/config.toml\n  \
        anycast-lb run\n  \
        anycast-lb status\n  \
        anycast-lb backend drain 10.0.0.11\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub struct Cli {
    /// Socket of the daemon
    #[arg(long, global = true, env = "ANYCAST_LB_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print one JSON object, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run(run::Run),
    /// Find every mistake in the configuration
    Check(check::Check),
    /// Show how the daemon is
    Status(status::Status),
    /// Show the counters
    Stats(stats::Stats),
    /// Show this node live: VIPs, backends, rates, drops, sessions, alarms
    Top(top::Top),
    /// Service addresses
    #[command(subcommand)]
    Vip(vip::Vip),
    /// Sets of backends
    #[command(subcommand)]
    Pool(pool::Pool),
    /// Sites
    #[command(subcommand)]
    Pop(pop::Pop),
    /// Servers
    #[command(subcommand)]
    Backend(backend::Backend),
    /// Maintenance of this node
    #[command(subcommand)]
    Node(node::Node),
    /// What this node announces, and to whom
    #[command(subcommand)]
    Bgp(bgp::Bgp),
    /// Announcing by other programs
    #[command(subcommand)]
    Announce(announce::Announce),
    /// The other ingress nodes
    #[command(subcommand)]
    Peer(peer::Peer),
    /// What RPKI validators say about our prefixes
    #[command(subcommand)]
    Rpki(rpki::Rpki),
    /// Our prefixes, announced from elsewhere
    #[command(subcommand)]
    Hijack(hijack::Hijack),
    /// Count the flows that this backend's kernel holds
    Flows(flows::Flows),
    /// Put the edited configuration in force, all or nothing
    Reload(reload::Reload),
    /// Tell where a flow goes, or what becomes of packets
    Trace(trace::Trace),
    /// What nodes remember of flows
    #[command(subcommand)]
    Log(log::Log),
    /// Follow a live flow, packet by packet
    Watch(watch::Watch),
    /// Capture packets before and after the decision, for Wireshark
    Capture(record::Record),
    /// Ask a service, from a client, which node answers
    Whoami(whoami::Whoami),
    /// Play membership changes through, without touching anything
    Simulate(simulate::Simulate),
    /// Take the data plane off the NICs
    Detach(detach::Detach),
    /// Print completions for a shell
    Completions(completions::Completions),
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
struct ConfigArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Name of this node, in place of the one in the file
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Site of this node, in place of the one in the file
    #[arg(long, value_name = "NAME")]
    pop: Option<String>,
}

/// Conditions of a change.
#[derive(Clone, Debug, Default, Args)]
struct ChangeArgs {
    /// Refuse unless this generation (see `status`) is in force
    #[arg(long, value_name = "N")]
    expect_generation: Option<u64>,
}

impl ConfigArgs {
    /// The file, whole: what the daemon says of it later is read elsewhere.
    fn file(&self) -> PathBuf {
        // Fails for an empty path only, which no file has either.
        std::path::absolute(&self.config).unwrap_or_else(|_| self.config.clone())
    }

    fn overrides(&self) -> Overrides {
        Overrides { node: self.node.clone(), pop: self.pop.clone() }
    }
}

impl ChangeArgs {
    /// As the query of a removal: empty, or `?expect_generation=N`.
    fn query(&self) -> String {
        self.expect_generation.map(|n| format!("?expect_generation={n}")).unwrap_or_default()
    }
}

/// Parses the command line, does what it says and returns the exit code.
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os()))
}

/// All went well.
const DONE: u8 = 0;
/// It was understood but could not be done.
const FAILED: u8 = 1;
/// It was not understood.
const USAGE: u8 = 2;

fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error, arguments.iter().any(|a| a == "--json")),
    };
    let json = cli.json;
    match dispatch(cli) {
        Ok(()) => DONE,
        Err(CliError::Usage { command, message }) => {
            let mut cli = Cli::command();
            // Built, a subcommand knows its whole name for the usage line.
            cli.build();
            let command = cli.find_subcommand_mut(command).cloned();
            let mut command = command.unwrap_or(cli);
            print_usage(&command.error(ErrorKind::ValueValidation, message), json)
        }
        Err(error) => {
            error.print(json);
            FAILED
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches)?;
    // Every command knows the option; where it would do nothing, who gives it has something else in mind.
    let named = matches.subcommand().and_then(|(_, m)| m.value_source("socket"));
    if matches!(cli.command, Command::Run(_) | Command::Check(_) | Command::Detach(_))
        && named == Some(ValueSource::CommandLine)
    {
        let message = "this command reads the socket's path from the configuration ([control] socket), \
                       not from --socket";
        return Err(command.error(ErrorKind::ArgumentConflict, message));
    }
    Ok(cli)
}

/// Prints what clap has to say: help, the version, or what it did not understand.
fn print_usage(error: &clap::Error, json: bool) -> u8 {
    if json && error.use_stderr() {
        let text = anstream::adapter::strip_str(&error.to_string()).to_string();
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        CliError::failed("usage", message, Some("see: anycast-lb --help")).print(true);
        return USAGE;
    }
    // Nothing is left to be said when this fails too.
    let _ = error.print();
    if error.use_stderr() { USAGE } else { DONE }
}

fn dispatch(cli: Cli) -> Result<(), CliError> {
    let context = Context::new(&cli.socket, cli.json);
    match cli.command {
        Command::Run(run) => run.execute(&context),
        Command::Check(check) => check.execute(&context),
        Command::Detach(detach) => detach.execute(&context),
        Command::Completions(completions) => completions.execute(&context),
        Command::Simulate(simulate) => simulate.execute(&context),
        Command::Status(status) => context.block_on(status.execute(&context)),
        Command::Stats(stats) => context.block_on(stats.execute(&context)),
        Command::Top(top) => context.block_on(top.execute(&context)),
        Command::Vip(vip) => context.block_on(vip.execute(&context)),
        Command::Pool(pool) => context.block_on(pool.execute(&context)),
        Command::Pop(pop) => context.block_on(pop.execute(&context)),
        Command::Backend(backend) => context.block_on(backend.execute(&context)),
        Command::Node(node) => context.block_on(node.execute(&context)),
        Command::Bgp(bgp) => context.block_on(bgp.execute(&context)),
        Command::Announce(announce) => context.block_on(announce.execute(&context)),
        Command::Peer(peer) => context.block_on(peer.execute(&context)),
        Command::Rpki(rpki) => context.block_on(rpki.execute(&context)),
        Command::Hijack(hijack) => context.block_on(hijack.execute(&context)),
        Command::Flows(flows) => context.block_on(flows.execute(&context)),
        Command::Reload(reload) => context.block_on(reload.execute(&context)),
        Command::Log(log) => context.block_on(log.execute(&context)),
        Command::Trace(trace) => context.block_on(trace.execute(&context)),
        Command::Watch(watch) => context.block_on(watch.execute(&context)),
        Command::Capture(record) => context.block_on(record.execute(&context)),
        Command::Whoami(whoami) => context.block_on(whoami.execute(&context)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            command.get_subcommands().for_each(|c| visit(c, &path));
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{path} has no example");
        }
        visit(&Cli::command(), "");
    }

    #[test]
    fn the_documented_forms_parse() {
        for line in [
            "run --config /etc/x.toml --node a --pop b",
            "check",
            "status --json",
            "stats --all",
            "top",
            "top --view drops --interval 500ms",
            "top --once --json",
            "vip list",
            "vip add 203.0.113.1:443/tcp --pool web",
            "vip add [2001:db8::1]:443/tcp --pool web --expect-generation 3",
            "vip remove 203.0.113.1:443/tcp",
            "pool list",
            "pool show web",
            "pool add web --encapsulation ipip",
            "pool remove web",
            "pop list",
            "pop drain fra1 --expect-generation 3",
            "pop undrain fra1",
            "backend list",
            "backend add 10.0.0.13 --pool web --weight 50",
            "backend remove 10.0.0.13",
            "backend remove 10.0.0.13 --now",
            "backend drain 10.0.0.13 --pool web",
            "backend drain 10.0.0.13 --wait",
            "backend drain 10.0.0.13 --wait --timeout 60s",
            "backend health 10.0.0.13 down --pool web",
            "backend health fd00::13 up",
            "backend health 10.0.0.13 unknown",
            "backend undrain fd00::13",
            "backend weight 10.0.0.13 50",
            "reload --dry-run --socket /tmp/s",
            "trace tcp 192.0.2.7:51234 203.0.113.1:443",
            "trace --at 14:03:05 tcp 192.0.2.7:51234 203.0.113.1:443",
            "trace --at 2026-11-30T14:03:05Z --node sin1-lb1 -",
            "trace -",
            "trace --pcap FILE --count 5 --node sin1-lb1",
            "trace --hex 4500 0028",
            "simulate --backends 100 --change remove:1 --change add:1 --hops 3 --history --table maglev \
             --margin 0.03 --slots 65536 --seed 1 --json",
            "trace --node sin1-lb1 tcp 192.0.2.7:51234 203.0.113.1:443",
            "node drain --wait",
            "node undrain",
            "bgp status --json",
            "announce exabgp",
            "peer list",
            "rpki status --json",
            "rpki check 203.0.113.0/24 AS64500",
            "rpki check --rtr [::1]:8282 2001:db8::/32 64500 --json",
            "hijack list",
            "flows --json",
            "log query --source 192.0.2.7:51234 --since 14:03 --limit 5 --json",
            "log query --destination [2001:db8::1]:443 --verdict hop --backend fd00::11 --here",
            "log query --vip 203.0.113.1:443/tcp --node sin1-lb1 --until 2026-11-30T14:03:05Z",
            "log query --files a.jsonl b.jsonl",
            "watch tcp 192.0.2.7:51234 203.0.113.1:443",
            "watch --all-nodes tcp * 203.0.113.1:443 --count 5 --seconds 3 --json",
            "watch --node a --node b udp * *",
            "capture -w - --vip 203.0.113.1:443/tcp --verdict hop --verdict decap_gue --sample 10 --snaplen 128",
            "capture --write FILE --source 192.0.2.7 --destination 203.0.113.1:443 --count 5 --seconds 3 --node a",
            "whoami 203.0.113.53",
            "whoami 2001:db8::53 --port 5353 --count 100 --timeout 2 --json",
            "detach --config x.toml",
            "completions bash",
        ] {
            let words = std::iter::once("anycast-lb").chain(line.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    fn exit_code(line: &str) -> u8 {
        run(std::iter::once("anycast-lb").chain(line.split(' ')).map(OsString::from))
    }

    #[test]
    fn wrong_usage_leaves_with_2() {
        for line in [
            "frobnicate",
            "top --view nothing",
            "top --interval 1ms",
            "top --json",
            "vip add nonsense --pool web",
            "vip add 203.0.113.1:443/tcp",
            "backend add 10.0.0.300 --pool web",
            "backend add 10.0.0.13",
            "backend weight 10.0.0.13 0",
            "backend drain 10.0.0.13 --timeout 60s",
            "backend drain 10.0.0.13 --wait --timeout 60",
            "backend health 10.0.0.13 sick",
            "backend health 10.0.0.13",
            "backend weight 10.0.0.13 65536",
            "pool add web --encapsulation carrier-pigeon",
            "trace tcp 192.0.2.7:1",
            "trace icmp 192.0.2.7:1 203.0.113.1:443",
            "trace",
            "trace --at noon tcp 192.0.2.7:1 203.0.113.1:443",
            "trace --at 14:03 --hex 4500",
            "trace --hex 450",
            "trace --hex 45xy",
            "trace --count 5 tcp 192.0.2.7:1 203.0.113.1:443",
            "trace --pcap FILE --hex 4500",
            "trace --pcap FILE --count 0",
            "trace --pcap FILE tcp 192.0.2.7:1 203.0.113.1:443",
            "rpki check 203.0.113.0/24",
            "rpki check 203.0.113.1/24 64500",
            "rpki check 203.0.113.0/24 AS0",
            "watch tcp 192.0.2.7:51234",
            "watch tcp 192.0.2.7:51234 203.0.113.1:443 --seconds 0",
            "watch --node a --all-nodes tcp * *",
            "capture",
            "capture -w FILE --verdict nonsense",
            "capture -w FILE --snaplen 4096",
            "capture -w FILE --flow tcp",
            "whoami",
            "whoami ns.example",
            "whoami 203.0.113.53 --count 0",
            "whoami 203.0.113.53 --port 0",
            "run --socket /tmp/s",
            "check --socket /tmp/s",
            "vip frobnicate --json",
            "log query --source 192.0.2",
            "log query --since yesterday",
            "log query --limit 0",
            "log query --files a --node b",
        ] {
            assert_eq!(exit_code(line), USAGE, "{line}");
        }
    }

    #[test]
    fn failure_leaves_with_1_and_help_with_0() {
        let nowhere = "/nonexistent/anycast-lb";
        for command in
            ["status", "stats --json", "vip list", "reload", "trace tcp 192.0.2.7:1 203.0.113.1:443"]
        {
            assert_eq!(exit_code(&format!("{command} --socket {nowhere}.sock")), FAILED, "{command}");
        }
        for command in ["run", "check", "check --json", "detach"] {
            assert_eq!(exit_code(&format!("{command} --config {nowhere}.toml")), FAILED, "{command}");
        }
        assert_eq!(exit_code("vip add --help"), DONE);
        assert_eq!(exit_code("--version"), DONE);
    }
}
