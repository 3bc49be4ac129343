//! What the checks of a thousand backends cost: the processor time of the thread that makes them, while as many
//! servers on addresses of loopback answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anycast_lb_health::checker::{Checker, Subject};
use anycast_lb_health::probe::{Check, HttpCheck, Target};
use anycast_lb_health::schedule::Wanted;
use anycast_lb_health::{Health, Timing};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use xtask::bench::Arguments;
use xtask::progress;

use crate::report::table;

/// Backends that are checked.
const BACKENDS: u16 = 1000;
const TIMING: Timing =
    Timing { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), rise: 2, fall: 3 };
/// Until all backends have had their first verdict.
const PATIENCE: Duration = Duration::from_secs(60);
/// Intervals that are measured.
const INTERVALS: u32 = 5;
/// Most percent of one processor.
const MOST_PERCENT: f64 = 10.0;
/// Port of the servers; the address tells them apart.
const PORT: u16 = 18_080;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";

/// Percent of one processor, by what is asked.
#[derive(Default)]
pub struct Cost(Vec<(String, f64)>);

/// Measures what is wanted.
///
/// # Errors
/// The servers cannot be started, or a backend is not found healthy.
pub fn measure(arguments: &Arguments) -> Result<Cost> {
    let wants = |name: &str| arguments.cases.is_empty() || arguments.cases.iter().any(|w| name.contains(w));
    let http = HttpCheck {
        method: "GET".to_owned(),
        path: "/healthz".to_owned(),
        host: Some("www.example".to_owned()),
        expect: vec![200],
        body: None,
        tls: None,
    };
    let kinds = [("tcp", Check::Tcp), ("http", Check::Http(http))];
    let named = kinds.map(|(word, check)| (format!("health-{BACKENDS}-{word}"), check));
    let wanted: Vec<_> = named.into_iter().filter(|(name, _)| wants(name)).collect();
    if wanted.is_empty() {
        return Ok(Cost::default());
    }
    let began = Instant::now();
    // A thread of its own, so that what the servers take is not counted.
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    servers.block_on(serve())?;
    let cost = wanted.into_iter().map(|(name, check)| Ok((name, percent(check)?))).collect::<Result<_>>()?;
    servers.shutdown_background();
    progress::done("health checks", &format!("{BACKENDS} backends"), began.elapsed());
    Ok(Cost(cost))
}

fn address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(127, 77, high, low).into(), PORT)
}

async fn serve() -> Result<()> {
    for number in 1..=BACKENDS {
        let address = address(number);
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Reset or answered: a probe is over soon.
                let mut request = [0; 1024];
                if matches!(stream.read(&mut request).await, Ok(1..)) {
                    let _ = stream.write_all(ANSWER).await;
                }
            }
        });
    }
    Ok(())
}

/// The share of one processor that a thread takes which does nothing but these checks.
fn percent(check: Check) -> Result<f64> {
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || tell.send(checks(check)));
    let percent = told.recv().context("the checks broke off")?;
    thread.join().ok().context("the checks broke off")?.ok();
    percent
}

fn checks(check: Check) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (checker, mut verdicts) = Checker::start();
        let check = Arc::new(check);
        let one = |number| {
            let subject = Subject { check: Arc::clone(&check), target: Target::direct(address(number)) };
            Wanted { key: number, timing: TIMING, subject }
        };
        checker.set((1..=BACKENDS).map(one).collect());
        let mut up = 0;
        while up < usize::from(BACKENDS) {
            let batch = tokio::time::timeout(PATIENCE, verdicts.recv()).await?.context("no checker")?;
            let ill = batch.iter().find(|(_, change)| change.health != Health::Up);
            ensure!(ill.is_none(), "a server that is well was found ill: {ill:?}");
            up += batch.len();
        }
        let (began, before) = (Instant::now(), used()?);
        let end = began + TIMING.interval * INTERVALS;
        // Nothing must change any more: a verdict now would be a failed check.
        let change = tokio::time::timeout_at(end.into(), verdicts.recv()).await;
        ensure!(change.is_err(), "a server that is well was found ill: {change:?}");
        Ok((used()? - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0)
    })
}

/// Processor time of this thread: its own and the kernel's on its behalf, which on loopback is both ends of each
/// connection's way.
fn used() -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the value it is given.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    ensure!(!failed, "no processor time: {}", std::io::Error::last_os_error());
    Ok(Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?))
}

impl Cost {
    /// The table, in Markdown; nothing if nothing was measured.
    pub fn markdown(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let mut text = format!(
            "\nHealth checks of {BACKENDS} backends every {} s: percent of one processor.\n\n",
            TIMING.interval.as_secs()
        );
        let row = |(name, percent): &(String, f64)| {
            let reached = if *percent <= MOST_PERCENT { "yes" } else { "NO" };
            vec![name.clone(), format!("{percent:.1}"), format!("{MOST_PERCENT:.0}"), reached.to_owned()]
        };
        table(
            &mut text,
            &["case", "percent", "at most", "reached"],
            &self.0.iter().map(row).collect::<Vec<_>>(),
        );
        text
    }

    /// Puts the figures beside the others.
    pub fn add_to(&self, json: &mut Value) {
        if !self.0.is_empty() {
            let case = |(name, percent): &(String, f64)| {
                (
                    name.clone(),
                    json!({ "value": (percent * 100.0).round() / 100.0, "unit": "percent of a core" }),
                )
            };
            json["health"] = self.0.iter().map(case).collect::<Map<_, _>>().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_missed_is_said() {
        let cost = Cost(vec![("health-1000-tcp".to_owned(), 4.26), ("health-1000-http".to_owned(), 12.0)]);
        let text = cost.markdown();
        let cells = |name: &str| {
            let line = text.lines().find(|line| line.contains(name)).unwrap();
            line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(cells("tcp"), "health-1000-tcp 4.3 10 yes");
        assert_eq!(cells("http"), "health-1000-http 12.0 10 NO");
        let mut value = json!({});
        cost.add_to(&mut value);
        assert_eq!(value["health"]["health-1000-tcp"]["value"], 4.26);
        assert_eq!(Cost::default().markdown(), "");
    }
}
