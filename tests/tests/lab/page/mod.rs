//! The status page of a live daemon in a real browser, and `top` on a real terminal.

mod browser;
mod terminal;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::daemons::until;
use xtask::lab::tools::target_directory;
use xtask::lab::topology::{self, HTTP_PORT, PREFIX_V4, VIP_V4};
use xtask::lab::traffic::{RunningTraffic, Spec};
use xtask::lab::{Lab, Node};

use super::stand::{DEADLINE, done, edit, route_via, shape};
use browser::{Browser, exchange};

const PAGE_PORT: u16 = 9525;
const PAGE: &str = "http://127.0.0.1:9525/";
const BMP_PORT: u16 = 11019;
/// Where nobody listens.
const NO_SERVICE: u16 = 999;
/// The name of a router, which whoever speaks BMP to a node chooses: 64 characters, no spaces.
const HOSTILE: &str = "<img/src=x/onerror=alert(document.title='owned')></script>";

/// A node with the page on and a hostile router, under traffic of all kinds.
struct Stage {
    lab: Lab,
    _traffic: RunningTraffic,
    _router: TcpStream,
}

impl Stage {
    fn set() -> Result<Self> {
        let mut lab = Lab::builder().shape(shape(1, 3)).without_balancers().build()?;
        let station = SocketAddr::from((topology::edge(0, false).v4, BMP_PORT));
        let node = lab.ingress(0);
        let line = format!("prefix = \"{PREFIX_V4}\"\n");
        edit(node, &line, &format!("{line}origin_as = 64500\n"))?;
        let text = fs::read_to_string(node.config())?;
        fs::write(node.config(), format!("{text}\n[bmp]\nlisten = \"{station}\"\n[page]\nenabled = true\n"))?;
        super::stand::start_all(&mut lab)?;
        let spec = Spec {
            flows: 40,
            rate: 10.0,
            short_rate: 20.0,
            udp_flows: 10,
            seconds: 600.0,
            ..Spec::default()
        };
        let traffic = lab.traffic(&spec)?;
        traffic.wait_established(DEADLINE)?;
        let router = hostile_router(&lab, station)?;
        Ok(Stage { lab, _traffic: traffic, _router: router })
    }

    fn node(&mut self) -> &mut Node {
        self.lab.ingress(0)
    }

    /// Something to drop.
    fn to_nowhere(&self) -> Result<()> {
        let socket = self.lab.client(0).enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        for _ in 0..20 {
            socket.send_to(b"x", (VIP_V4, NO_SERVICE))?;
        }
        Ok(())
    }
}

/// A session of BMP (RFC 7854 §4.3: Initiation) that gives itself a name, and stays.
fn hostile_router(lab: &Lab, station: SocketAddr) -> Result<TcpStream> {
    const INITIATION: u8 = 4;
    let mut information = Vec::new();
    for (kind, text) in [(1_u16, "a router"), (2, HOSTILE)] {
        information.extend(kind.to_be_bytes());
        information.extend(u16::try_from(text.len())?.to_be_bytes());
        information.extend(text.as_bytes());
    }
    let mut message = vec![3];
    message.extend(u32::try_from(6 + information.len())?.to_be_bytes());
    message.push(INITIATION);
    message.extend(information);
    let mut stream = lab.client(0).enter(|| TcpStream::connect(station))??;
    stream.write_all(&message)?;
    Ok(stream)
}

#[test]
fn a_browser_shows_the_node_and_runs_nothing_foreign() -> Result<()> {
    let mut stage = Stage::set()?;
    stage.to_nowhere()?;
    let namespace = stage.node().namespace().clone();
    let browser = Browser::start(&stage.lab, &namespace)?;
    browser.screen(1280, 900, false)?;
    browser.open(PAGE)?;
    facts(&mut stage, &browser)?;
    plots(&stage, &browser)?;
    hostile_name(&browser)?;
    drains(&mut stage, &browser)?;
    traces(&mut stage, &browser)?;
    looks(&mut stage, &browser)?;

    // All it said, and whom it asked.
    let complaints: Vec<_> = browser.console()?.into_iter().filter(|(level, _)| level != "INFO").collect();
    // The trace that is a mistake on purpose is answered with 400, which the browser notes.
    let (expected, others): (Vec<_>, Vec<_>) =
        complaints.into_iter().partition(|(_, text)| text.contains("/api/trace") && text.contains("400"));
    ensure!(others.is_empty() && expected.len() <= 1, "the console: {others:?} {expected:?}");
    let requested = browser.requested()?;
    ensure!(requested.len() > 5 && requested.iter().all(|url| url.starts_with(PAGE)), "{requested:?}");

    goes_and_comes(&mut stage, &browser)?;
    guarded(&mut stage)
}

fn facts(stage: &mut Stage, browser: &Browser) -> Result<()> {
    until(DEADLINE, "the page to live", || {
        Ok((browser.text("document.getElementById('live').textContent")? == "live").then_some(()))
    })?;
    let status = stage.node().cli(&["status", "--json"])?.json()?;
    let page = browser.text("document.body.innerText")?;
    for fact in [
        status["node"].as_str().context("a name")?,
        status["pop"].as_str().context("a PoP")?,
        status["version"].as_str().context("a release")?,
        &format!("{VIP_V4}:{HTTP_PORT}/tcp"),
        "10.0.0.11",
        "10.0.0.12",
        "10.0.0.13",
        status["pools"][0]["owners"].as_str().context("a fingerprint")?,
    ] {
        ensure!(page.contains(fact), "{fact:?} is not on the page:\n{page}");
    }
    // Rates that agree with what is sent: 40 flows with ten requests a second are hundreds of packets.
    until(DEADLINE, "rates", || {
        let cell = "document.querySelector('#vips tbody tr td.number')?.textContent ?? ''";
        Ok(browser.text(cell)?.starts_with(|c: char| ('1'..='9').contains(&c)).then_some(()))
    })?;
    stage.to_nowhere()?;
    until(DEADLINE, "the drops", || {
        Ok(browser
            .text("document.getElementById('drops').innerText")?
            .contains("unmatched_service")
            .then_some(()))
    })
}

/// Every plot has something to show, from before the page was opened on.
fn plots(stage: &Stage, browser: &Browser) -> Result<()> {
    for plot in ["plot-vips", "plot-bits", "plot-drops", "plot-shares"] {
        until(DEADLINE, plot, || {
            stage.to_nowhere()?;
            let paths = format!(
                "[...document.querySelectorAll('#{plot} path.area')].filter((p) => p.getAttribute('d').length > 30).length"
            );
            Ok((browser.number(&paths)? > 0.0).then_some(()))
        })?;
    }
    let shares = browser.number("document.querySelectorAll('#plot-shares path.area').length")?;
    ensure!(shares == 3.0, "{shares} backends share");
    Ok(())
}

fn hostile_name(browser: &Browser) -> Result<()> {
    until(DEADLINE, "the hostile router", || {
        Ok(browser
            .text("document.getElementById('sessions').textContent")?
            .contains("onerror=")
            .then_some(()))
    })?;
    ensure!(!browser.has_dialog(), "a dialog");
    let title = browser.text("document.title")?;
    ensure!(!title.contains("owned") && title.ends_with("anycast-lb"), "{title}");
    let images = browser.number("document.querySelectorAll('img').length")?;
    let scripts = browser.number("document.querySelectorAll('script').length")?;
    ensure!((images, scripts) == (1.0, 1.0), "{images} images, {scripts} scripts");
    Ok(())
}

fn drains(stage: &mut Stage, browser: &Browser) -> Result<()> {
    done(stage.node(), &["backend", "drain", "10.0.0.12"])?;
    done(stage.node(), &["backend", "health", "10.0.0.13", "down"])?;
    until(DEADLINE, "the drain and the failure", || {
        let text = browser.text("document.getElementById('backends').innerText")?;
        Ok((text.contains("draining") && text.contains("said to be down by hand")).then_some(()))
    })?;
    done(stage.node(), &["backend", "health", "10.0.0.13", "unknown"])?;
    Ok(())
}

/// The form says what the command says.
fn traces(stage: &mut Stage, browser: &Browser) -> Result<()> {
    let (source, destination) = ("192.0.2.77:51234", format!("{VIP_V4}:{HTTP_PORT}"));
    let fill = |source: &str| {
        browser.script(&format!(
            "const form = document.getElementById('ask');
             form.elements.source.value = '{source}';
             form.elements.destination.value = '{destination}';
             form.requestSubmit();"
        ))
    };
    fill(source)?;
    let told = stage.node().cli(&["trace", "tcp", source, &destination, "--json"])?.json()?;
    let told = &told["traces"][0];
    let shown = "document.getElementById('traced').innerText";
    until(DEADLINE, "the trace", || Ok(browser.text(shown)?.contains("verdict").then_some(())))?;
    let text = browser.text(shown)?;
    for fact in [&told["verdict"], &told["backend"], &told["pool"], &told["slot"], &told["next_hop"]["mac"]] {
        let fact = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
        ensure!(text.contains(&fact), "{fact} is not in {text}");
    }
    fill("nonsense")?;
    until(DEADLINE, "the mistake", || Ok(browser.text(shown)?.contains("is not an address").then_some(())))?;
    fill(source)?;
    until(DEADLINE, "the trace again", || Ok(browser.text(shown)?.contains("verdict").then_some(())))
}

/// No size and no light makes it wider than the screen. Pictures are for who wants to look.
fn looks(stage: &mut Stage, browser: &Browser) -> Result<()> {
    let pictures: PathBuf = target_directory().join("screenshots");
    fs::create_dir_all(&pictures)?;
    for (width, height) in [(360, 740), (768, 1000), (1280, 900), (1920, 1080)] {
        for dark in [false, true] {
            stage.to_nowhere()?;
            browser.screen(width, height, dark)?;
            let ground = browser.text("getComputedStyle(document.body).backgroundColor")?;
            let wide = format!("document.querySelector('#plot-bits svg').clientWidth <= {width}");
            until(DEADLINE, "the plots to fit", || {
                Ok((browser.script(&format!("return {wide};"))? == true).then_some(()))
            })?;
            let overflow =
                "Math.max(...[document.documentElement, ...document.querySelectorAll('.scroll, article')]
                .map((e) => e.scrollWidth - e.clientWidth))";
            let overflow = browser.number(overflow)?;
            ensure!(overflow <= 0.0, "{width} px: {overflow} px too wide");
            ensure!(
                dark == (ground == "rgb(18, 22, 28)"),
                "{ground} in {}",
                if dark { "the dark" } else { "light" }
            );
            let mode = if dark { "dark" } else { "light" };
            browser.screenshot(&pictures.join(format!("page-{width}-{mode}.png")))?;
        }
    }
    browser.screen(1280, 900, false)
}

/// The daemon goes away, and the page says so; it comes back, and the page goes on by itself.
fn goes_and_comes(stage: &mut Stage, browser: &Browser) -> Result<()> {
    let live = "document.getElementById('live').textContent";
    stage.node().kill9()?;
    until(DEADLINE, "the silence", || Ok(browser.text(live)?.starts_with("no answer since").then_some(())))?;
    browser.screenshot(&target_directory().join("screenshots/page-silent.png"))?;
    stage.node().start()?;
    until(DEADLINE, "the page to live again", || Ok((browser.text(live)? == "live").then_some(())))?;
    plots(stage, browser)
}

/// Who asks under another name is refused; a reload takes the page away and brings it back.
fn guarded(stage: &mut Stage) -> Result<()> {
    let namespace = stage.node().namespace().clone();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, PAGE_PORT));
    let ask = |host: &str, method: &str| {
        let request = format!("{method} /api/state HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        Ok::<u16, anyhow::Error>(exchange(&namespace, to, &request)?.0)
    };
    ensure!(ask("127.0.0.1:9525", "GET")? == 200 && ask("localhost", "GET")? == 200);
    ensure!(ask("evil.example:9525", "GET")? == 421, "DNS rebinding");
    ensure!(ask("localhost", "POST")? == 405 && ask("localhost", "DELETE")? == 405);

    let listens = || namespace.enter(|| TcpStream::connect(to)).is_ok_and(|stream| stream.is_ok());
    let off = "[page]\nenabled = false\n";
    edit(stage.node(), "[page]\nenabled = true\n", off)?;
    let changed = done(stage.node(), &["reload"])?.stdout;
    ensure!(changed.contains("page") && changed.contains("127.0.0.1:9525 -> -"), "{changed}");
    until(DEADLINE, "the port to be closed", || Ok((!listens()).then_some(())))?;
    let address = topology::edge(0, false).v4;
    edit(stage.node(), off, &format!("[page]\nenabled = true\nlisten = \"{address}:{PAGE_PORT}\"\n"))?;
    done(stage.node(), &["reload"])?;
    let to = SocketAddr::from((address, PAGE_PORT));
    until(DEADLINE, "the other port", || {
        Ok(namespace.enter(|| TcpStream::connect(to)).is_ok_and(|stream| stream.is_ok()).then_some(()))
    })?;
    let request = format!("GET /api/state HTTP/1.1\r\nHost: {to}\r\n\r\n");
    let (status, body) = until(DEADLINE, "a sample", || {
        let (status, body) = exchange(&namespace, to, &request)?;
        Ok((status != 503).then_some((status, body)))
    })?;
    let state: Value = serde_json::from_str(&body)?;
    ensure!(status == 200 && state["vips"].is_array(), "{status} {body}");
    let notices = done(stage.node(), &["status"])?.stdout;
    ensure!(notices.contains("everyone who reaches this address"), "{notices}");
    route_via(&stage.lab, 0)
}
