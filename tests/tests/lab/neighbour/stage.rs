//! Two namespaces, `here` with the resolver and `there` with the backends, joined by two veth pairs:
//! `west` (10.77.1.0/24, fd77:1::/64) and `east` (10.77.2.0/24, fd77:2::/64).

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anycast_lb::neighbour::{Event, NextHop, Resolution, Resolver};
use anyhow::{Context, Result, bail, ensure};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::lab::namespace::Namespace;

/// Far longer than anything here takes; a test that waits this long has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// `here` and `there`, joined twice.
pub(super) struct Lab {
    pub(super) here: Namespace,
    pub(super) there: Arc<Namespace>,
}

impl Lab {
    pub(super) fn new() -> Result<Self> {
        let lab = Lab { here: Namespace::new()?, there: Arc::new(Namespace::new()?) };
        for (number, name) in [(1, "west"), (2, "east")] {
            lab.here.ip(&format!("link add {name} type veth peer name {name} netns {}", lab.there.tid))?;
            for (host, side) in [(1, &lab.here), (2, &*lab.there)] {
                side.ip(&format!("link set {name} address 02:00:00:00:0{number}:0{host} up"))?;
                side.ip(&format!("addr add 10.77.{number}.{host}/24 dev {name}"))?;
                side.ip(&format!("addr add fd77:{number}::{host}/64 dev {name} nodad"))?;
            }
        }
        // The backends that are not on a link of ours.
        lab.there.ip("addr add 10.77.9.1/32 dev lo")?;
        lab.there.ip("addr add fd77:9::1/128 dev lo nodad")?;
        Ok(lab)
    }

    /// Tells a story on the namespace's thread; `there` is for what the other side does meanwhile.
    pub(super) fn tell<F>(
        self,
        sources: Vec<IpAddr>,
        story: impl FnOnce(Watcher) -> F + Send + 'static,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let there = self.there.clone();
        self.here.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let (resolver, events) = Resolver::start(&sources)?;
                story(Watcher { resolver, events, there }).await
            })
        })?
    }
}

/// The resolver, on the thread of its namespace, and what it said.
pub(super) struct Watcher {
    pub(super) resolver: Resolver,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) there: Arc<Namespace>,
}

impl Watcher {
    /// Runs `ip` here.
    pub(super) fn ip(&self, words: &str) -> Result<()> {
        let output = Command::new("ip").args(words.split_whitespace()).output()?;
        ensure!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Waits for an event that `pick` likes.
    pub(super) async fn wait<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => match pick(&event) {
                    Some(found) => return Ok(found),
                    None => seen.push(event),
                },
                Ok(None) => bail!("the resolver ended while waiting for {what}; seen: {seen:?}"),
                Err(_) => bail!("{what} did not happen; seen: {seen:?}"),
            }
        }
    }

    /// Waits until `target` is resolved in a way that `good` likes.
    pub(super) async fn resolved(
        &mut self,
        target: &str,
        what: &str,
        good: impl Fn(&NextHop) -> bool,
    ) -> Result<NextHop> {
        let target: IpAddr = target.parse()?;
        self.wait(what, |event| match event {
            Event::NextHop { backend, resolution: Resolution::Resolved(hop) }
                if *backend == target && good(hop) =>
            {
                Some(hop.clone())
            }
            _ => None,
        })
        .await
    }

    /// Waits until `target` is unresolved for a reason that contains `words`.
    pub(super) async fn unresolved(&mut self, target: &str, words: &str) -> Result<()> {
        let target: IpAddr = target.parse()?;
        self.wait(words, |event| match event {
            Event::NextHop { backend, resolution: Resolution::Unresolved(why) }
                if *backend == target && why.contains(words) =>
            {
                Some(())
            }
            _ => None,
        })
        .await
    }

    pub(super) async fn targets(&self, targets: &[&str]) -> Result<()> {
        let targets = targets.iter().map(|t| t.parse()).collect::<Result<Vec<IpAddr>, _>>()?;
        self.resolver.set_targets(targets).await;
        Ok(())
    }
}

/// The addresses that `ip -d neigh` lists as managed in the thread's namespace, sorted, and its list.
pub(super) fn managed() -> Result<(Vec<String>, String)> {
    let list = Command::new("ip").args(["-d", "neigh", "show"]).output()?;
    let list = String::from_utf8(list.stdout)?;
    let lines = list.lines().filter(|line| line.split_whitespace().any(|word| word == "managed"));
    let mut addresses: Vec<_> = lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    addresses.sort();
    Ok((addresses, list))
}

/// Opens a tun device, which has a carrier only while somebody does.
pub(super) fn hold_tun(name: &str) -> Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun").context("/dev/net/tun")?;
    // SAFETY: an all-zero ifreq is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open and `request` is a valid ifreq for the length of the call.
    let outcome = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &request) };
    ensure!(outcome == 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
    Ok(file)
}
