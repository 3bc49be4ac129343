//! What a probe is, and the drivers that make them.
//!
//! Every driver is a future that may hang, be fed for ever or be lied to: [`Prepared::run`] ends it by the
//! deadline, and what it reads is bounded by the driver itself.

mod command;
mod dns;
mod http;
mod icmp;
mod socket;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

use crate::Reason;

pub use command::CommandCheck;
pub use dns::{DnsCheck, is_name, is_record_type};
pub use http::{HttpCheck, LONGEST_BODY, is_host, is_method, is_path};
pub use tls::TlsError;
pub use udp::UdpCheck;

/// What is asked of a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// A TCP connection is accepted.
    Tcp,
    /// An HTTP request is answered as expected; over TLS where [`HttpCheck::tls`] is given.
    Http(HttpCheck),
    /// A DNS query over UDP is answered with NOERROR.
    Dns(DnsCheck),
    /// A datagram is answered.
    Udp(UdpCheck),
    /// An echo request is answered.
    Icmp,
    /// A command ends with status 0.
    Command(CommandCheck),
}

impl Check {
    /// The word of the configuration language.
    pub fn word(&self) -> &'static str {
        match self {
            Check::Tcp => "tcp",
            Check::Http(http) if http.tls.is_some() => "https",
            Check::Http(_) => "http",
            Check::Dns(_) => "dns",
            Check::Udp(_) => "udp",
            Check::Icmp => "icmp",
            Check::Command(_) => "command",
        }
    }
}

/// Whether and against whom a certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verify {
    /// Not at all: whoever answers is as good as the right one.
    Nothing,
    /// Against the host's own certificate authorities.
    System,
    /// Against those of this PEM file.
    Ca(PathBuf),
}

/// Where a probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Address and port that are connected to; the port counts for nothing with ICMP.
    pub address: SocketAddr,
    /// The backend that is meant; the same as the address unless the probe goes to a VIP.
    pub backend: IpAddr,
    /// The VIP that is served there, for commands.
    pub vip: Option<IpAddr>,
    /// `SO_MARK` of the probe's packets; needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
    /// Local address of the probe; none = the kernel's choice.
    pub source: Option<IpAddr>,
}

impl Target {
    /// A probe that goes straight to a backend.
    pub fn direct(address: SocketAddr) -> Self {
        Target { address, backend: address.ip(), vip: None, mark: None, source: None }
    }
}

/// A check with all that is made once and used by every probe: TLS roots, the user of a command, the bytes
/// of a query.
#[derive(Clone, Debug)]
pub struct Prepared(Driver);

#[derive(Clone, Debug)]
enum Driver {
    Tcp,
    Http(http::Driver),
    Dns(dns::Driver),
    Udp(UdpCheck),
    Icmp,
    Command(command::Driver),
}

/// A check cannot be made as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// A request cannot be built from these parts.
    #[error("no HTTP request can be made of this method, path and host: {0}")]
    Http(String),
    /// The certificates to check against.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A DNS query.
    #[error("no DNS query can be made of this: {0}")]
    Dns(String),
    /// The user of a command.
    #[error("user `{name}` {problem}; name one that exists and is not root")]
    User {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A command without words.
    #[error("the command is empty; name a program and its arguments")]
    EmptyCommand,
}

impl Prepared {
    /// Makes what every probe of this check needs. Reads files: not for a hot path.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(check: &Check) -> Result<Self, PrepareError> {
        Ok(Prepared(match check {
            Check::Tcp => Driver::Tcp,
            Check::Http(http) => Driver::Http(http::Driver::new(http)?),
            Check::Dns(dns) => Driver::Dns(dns::Driver::new(dns)?),
            Check::Udp(udp) => Driver::Udp(udp.clone()),
            Check::Icmp => Driver::Icmp,
            Check::Command(command) => Driver::Command(command::Driver::new(command)?),
        }))
    }

    /// Whether a probe costs a process.
    pub fn is_heavy(&self) -> bool {
        matches!(self.0, Driver::Command(_))
    }

    /// Makes one probe; it is over by `deadline`.
    ///
    /// # Errors
    /// Why the check failed.
    pub async fn run(&self, target: &Target, deadline: Instant) -> Result<(), Reason> {
        let started = Instant::now();
        let probe = async {
            match &self.0 {
                Driver::Tcp => tcp::run(target).await,
                Driver::Http(http) => http.run(target).await,
                Driver::Dns(dns) => dns.run(target).await,
                Driver::Udp(udp) => udp::run(udp, target).await,
                Driver::Icmp => icmp::run(target).await,
                Driver::Command(command) => command.run(target).await,
            }
        };
        match tokio::time::timeout_at(deadline.into(), probe).await {
            Ok(result) => result,
            Err(_) => {
                let allowed = deadline.saturating_duration_since(started);
                Err(Reason::new(format_args!("no success within {} ms", allowed.as_millis())))
            }
        }
    }
}
