//! `top` on a terminal: tmux is one that says what stands on its screen.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::lab::Node;
use xtask::lab::daemons::until;
use xtask::lab::netns::Namespace;
use xtask::lab::tools::Tools;

use super::super::stand::{DEADLINE, done};
use super::{Stage, VIP_V4};

/// Between two looks at a screen.
const LOOK: Duration = Duration::from_millis(100);

/// A terminal of its own server, which ends with it.
struct Terminal {
    namespace: Namespace,
    server: String,
}

impl Terminal {
    /// Starts `top`, with a shell behind it.
    fn start(node: &Node, size: (u16, u16), server: &Path, environment: &str) -> Result<Self> {
        let terminal = Terminal {
            namespace: node.namespace().clone(),
            server: server.to_str().context("a path")?.to_owned(),
        };
        let (width, height) = (size.0.to_string(), size.1.to_string());
        let balancer = Tools::locate()?.balancer;
        let command = format!(
            "{environment} {} --socket {} top; echo left with $?; exec sleep 600",
            balancer.display(),
            node.socket().display()
        );
        terminal.tmux(&["new-session", "-d", "-x", &width, "-y", &height, "sh", "-c", &command])?;
        Ok(terminal)
    }

    fn tmux(&self, words: &[&str]) -> Result<String> {
        let words = [&["-S", &self.server, "-f", "/dev/null"], words].concat();
        let output = self.namespace.run("tmux", &words)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    fn keys(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    fn shows(&self, words: &[&str]) -> Result<String> {
        let mut last = String::new();
        until(DEADLINE, &format!("{words:?}"), || {
            last = self.screen()?;
            let all = words.iter().all(|word| last.contains(word));
            if !all {
                std::thread::sleep(LOOK);
            }
            Ok(all.then(|| last.clone()))
        })
        .with_context(|| last)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // What it ran ends with it.
        let _ = self.tmux(&["kill-server"]);
    }
}

#[test]
fn top_shows_the_node_on_terminals_small_and_large() -> Result<()> {
    let mut stage = Stage::set()?;
    let server = stage.lab.directory().join("tmux");
    let vip = VIP_V4.to_string();
    for size in [(80, 24), (200, 50)] {
        stage.to_nowhere()?;
        let terminal = Terminal::start(stage.node(), size, &server, "")?;
        let screen = terminal.shows(&["anycast-lb top", "1 VIPs", &vip, "q quit"])?;
        ensure!(screen.lines().all(|line| line.chars().count() <= usize::from(size.0)), "{screen}");
        terminal.keys(&["2"])?;
        let screen = terminal.shows(&["BACKEND", "10.0.0.11", "SHARE", "ASKED", "NOTE"])?;
        println!("{screen}");
        terminal.keys(&["3"])?;
        terminal.shows(&["REASON", "unmatched_service"])?;
        terminal.keys(&["4"])?;
        // The router's name is text, whatever is in it.
        terminal.shows(&["BMP", "<img/src=x"])?;
        terminal.keys(&["/", "zzz", "Enter"])?;
        terminal.shows(&["nothing has that in it"])?;
        terminal.keys(&["?"])?;
        terminal.shows(&["let the picture stand still"])?;
        terminal.keys(&["x", "Escape", "1"])?;
        terminal.shows(&[&vip])?;
        // It is told its new size.
        terminal.tmux(&["resize-window", "-x", "50", "-y", "10"])?;
        terminal.shows(&["50 x 10 is too small"])?;
        terminal.tmux(&["resize-window", "-x", "100", "-y", "30"])?;
        terminal.shows(&[&vip, "q quit"])?;
        terminal.keys(&["q"])?;
        let screen = terminal.shows(&["left with 0"])?;
        ensure!(!screen.contains("q quit"), "the terminal was not given back:\n{screen}");
    }
    Ok(())
}

#[test]
fn top_waits_for_a_daemon_that_is_away_and_gives_the_terminal_back() -> Result<()> {
    let mut stage = Stage::set()?;
    let server = stage.lab.directory().join("tmux");
    let terminal = Terminal::start(stage.node(), (80, 24), &server, "NO_COLOR=1")?;
    terminal.shows(&["1 VIPs", "q quit"])?;
    let painted = terminal.tmux(&["capture-pane", "-p", "-e"])?;
    for colour in 31..=36 {
        ensure!(!painted.contains(&format!("\u{1b}[{colour}m")), "colours: {painted:?}");
    }
    stage.node().kill9()?;
    terminal.shows(&["no answer since", "no daemon answers at"])?;
    stage.node().start()?;
    terminal.shows(&["every 1 s", "q quit"])?;
    // Ended from outside, it gives the terminal back too.
    let pid = terminal.tmux(&["list-panes", "-F", "#{pane_pid}"])?;
    let children = format!("/proc/{0}/task/{0}/children", pid.trim());
    let child = fs::read_to_string(&children).with_context(|| children)?;
    let child = child.split_whitespace().next().context("top does not run")?.parse()?;
    kill(Pid::from_raw(child), Signal::SIGTERM)?;
    let screen = terminal.shows(&["left with 0"])?;
    ensure!(!screen.contains("1 VIPs"), "the terminal was not given back:\n{screen}");

    // Where there is none it says so, and what to do.
    let refused = stage.node().cli(&["top"])?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("top --once"), "{refused:?}");
    let once = done(stage.node(), &["top", "--once", "--view", "backends"])?.stdout;
    ensure!(once.contains("10.0.0.11") && once.lines().count() == 24, "{once}");
    let facts = stage.node().cli(&["top", "--once", "--json"])?.json()?;
    ensure!(facts["schema"] == 1 && facts["totals"]["received"]["packets"].as_f64() > Some(0.0), "{facts}");
    Ok(())
}
