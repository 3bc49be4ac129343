//! One line a step: what it is and how long it took, with a sign of life on a terminal.

use std::io::{self, IsTerminal, Write};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};

use crate::process::{self, Finished};

/// Width of the column of step names.
const NAME_WIDTH: usize = 11;
/// Width of the text between name and time.
const TEXT_WIDTH: usize = 62;
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();
const SPINNER: [char; 4] = ['|', '/', '-', '\\'];

/// A headline.
pub fn headline(text: &str) {
    anstream::println!("{BOLD}{text}{BOLD:#}");
}

/// A line of the plan: what a step will do.
pub fn plan(name: &str, text: &str) {
    anstream::println!("  {name:NAME_WIDTH$} {text}");
}

/// A remark to the user that stops nothing.
pub fn note(text: &str) {
    anstream::println!("{BOLD}note:{BOLD:#} {text}");
}

/// A finished step.
pub fn done(name: &str, text: &str, took: Duration) {
    anstream::println!("{GOOD}ok{GOOD:#}  {name:NAME_WIDTH$} {text:TEXT_WIDTH$} {}", seconds(took));
}

fn failed(name: &str, text: &str, took: Duration) {
    anstream::println!("{BAD}FAILED{BAD:#} {name} {text} {}", seconds(took));
}

/// A duration for people: `7.4 s`, `2 min 05 s`.
pub fn seconds(took: Duration) -> String {
    const MINUTE: u64 = 60;
    let whole = took.as_secs();
    if whole < MINUTE {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / MINUTE, whole % MINUTE)
    }
}

/// Runs a step and prints its line.
///
/// # Errors
///
/// When the program cannot be started or fails; its output is printed then.
pub fn step(name: &str, text: &str, command: &mut Command) -> Result<()> {
    let mut live = Live::start(name, text);
    let began = Instant::now();
    let finished = process::collect(command, |line| live.draw(line));
    live.erase();
    report(name, text, command, began.elapsed(), finished?)
}

/// A step that runs beside others.
pub struct Background {
    name: &'static str,
    text: String,
    thread: JoinHandle<(Command, Duration, Result<Finished>)>,
}

impl Background {
    /// Starts it.
    pub fn start(name: &'static str, text: impl Into<String>, mut command: Command) -> Self {
        let thread = thread::spawn(move || {
            let began = Instant::now();
            let finished = process::collect(&mut command, |_| {});
            (command, began.elapsed(), finished)
        });
        Background { name, text: text.into(), thread }
    }

    /// Waits for its end and prints its line.
    ///
    /// # Errors
    ///
    /// As [`step`].
    pub fn join(self) -> Result<()> {
        let Ok((command, took, finished)) = self.thread.join() else {
            bail!("{}: the thread that ran it panicked", self.name)
        };
        report(self.name, &self.text, &command, took, finished?)
    }
}

fn report(name: &str, text: &str, command: &Command, took: Duration, finished: Finished) -> Result<()> {
    if finished.status.success() {
        done(name, text, took);
        return Ok(());
    }
    failed(name, text, took);
    for line in finished.output.iter().filter(|line| !is_routine(line)) {
        anstream::eprintln!("  {line}");
    }
    bail!("{name}: `{}` failed ({})", command_line(command), finished.status)
}

/// Whether a line of cargo's only says what it is at, which does not help to find an error.
fn is_routine(line: &str) -> bool {
    const WORDS: [&str; 5] = ["Compiling", "Checking", "Documenting", "Downloading", "Downloaded"];
    WORDS.iter().any(|word| line.trim_start().strip_prefix(word).is_some_and(|rest| rest.starts_with(' ')))
}

/// A command the way one would type it.
pub fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The moving line on a terminal; a plain line at the start elsewhere.
struct Live {
    terminal: bool,
    head: String,
    began: Instant,
    drawn: Option<Instant>,
    frame: usize,
}

impl Live {
    fn start(name: &str, text: &str) -> Self {
        let terminal = io::stdout().is_terminal();
        if !terminal {
            println!("..  {name:NAME_WIDTH$} {text}");
        }
        let head = format!("{name:NAME_WIDTH$} {text}");
        Live { terminal, head, began: Instant::now(), drawn: None, frame: 0 }
    }

    fn draw(&mut self, line: &str) {
        const FRAME: Duration = Duration::from_millis(100);
        if !self.terminal || self.drawn.is_some_and(|at| at.elapsed() < FRAME) {
            return;
        }
        self.drawn = Some(Instant::now());
        self.frame = (self.frame + 1) % SPINNER.len();
        let text = format!(
            "{}   {}  {}  {}",
            SPINNER[self.frame],
            self.head,
            seconds(self.began.elapsed()),
            line.trim().replace(|c: char| c.is_control(), " ")
        );
        let line: String = text.chars().take(terminal_width().saturating_sub(1)).collect();
        print!("\r\x1b[2K{line}");
        // A terminal that is gone is no reason to stop.
        let _ = io::stdout().flush();
    }

    fn erase(&self) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
    }
}

/// Columns of the terminal, 80 if it does not say.
fn terminal_width() -> usize {
    const USUAL: usize = 80;
    // SAFETY: an all-zero winsize is a valid value of that plain C struct.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one winsize to the pointer, which is valid for the call.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if result == 0 && size.ws_col > 0 { usize::from(size.ws_col) } else { USUAL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(7_449)), "7.4 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }

    #[test]
    fn only_the_routine_of_cargo_is_left_out() {
        assert!(is_routine("   Compiling serde v1.0.229"));
        assert!(!is_routine("error: Compiling went wrong"));
        assert!(!is_routine("  Checkings"));
    }

    #[test]
    fn a_failing_step_names_its_command() {
        let error = step("try", "to fail", Command::new("false").arg("--now")).unwrap_err();
        assert!(error.to_string().contains("`false --now` failed"), "{error}");
    }

    #[test]
    fn a_background_step_reports_its_end() {
        assert!(Background::start("a", "good one", Command::new("true")).join().is_ok());
        assert!(Background::start("a", "bad one", Command::new("false")).join().is_err());
    }
}
