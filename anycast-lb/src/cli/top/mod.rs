//! `top`: the node on one screen, as it is now.
//!
//! [`state`] takes keys and answers, [`sheet`] says what a view shows, [`draw`] paints it: all three are pure.
//! [`screen`] is the terminal. The loop is here.

mod draw;
#[cfg(test)]
mod draw_tests;
mod fit;
mod help;
mod screen;
mod sheet;
mod state;
mod text;

use std::future::Future;
use std::io::{IsTerminal, stdin, stdout};
use std::pin::Pin;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::PossibleValuesParser;
use crossterm::event::{Event as Input, EventStream, KeyCode, KeyEvent, KeyModifiers};
use futures_util::StreamExt;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::context::{Context, print, print_line};
use super::error::CliError;
use crate::config::parse_duration;
use crate::control::api::{Answer, HostFinding};
use crate::control::client::{Client, ClientError};
use crate::overview::Overview;
use crate::overview::facts::Facts;
use crate::overview::rates::Meter;
use draw::{Palette, draw};
use screen::Screen;
use sheet::View;
use state::{Event, Top as State};

/// No oftener, so that no one who looks keeps the daemon busy.
const LEAST_INTERVAL: Duration = Duration::from_millis(200);
/// No more seldom: people look at it.
const MOST_INTERVAL: Duration = Duration::from_secs(3600);
/// How often the daemon is asked to look at its host, too.
const FINDINGS_EVERY: Duration = Duration::from_secs(30);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the picture is drawn when nothing happens: it shows how old it is.
const REDRAW: Duration = Duration::from_secs(1);
/// Columns and lines of a picture that goes elsewhere than to a terminal.
const PICTURE: (u16, u16) = (80, 24);

/// Shows VIPs, backends, drops, sessions and alarms of this node, live.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb top\n  \
    anycast-lb top --view backends --interval 500ms\n  \
    anycast-lb top --once                   (prints one picture)\n  \
    anycast-lb top --once --json            (the same facts, for programs)\n\n\
    Keys: 1 to 5 or Tab choose a view, s sorts by the next column, r turns the order round, / filters,\n\
    p pauses, ? lists all keys, q or Ctrl-C leaves. NO_COLOR=1 takes the colours away. A terminal of\n\
    60 x 15 characters is enough.")]
pub struct Top {
    /// Ask the daemon this often, from 200ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = asking)]
    interval: Duration,
    /// Begin with this view
    #[arg(long, value_name = "VIEW", default_value = "vips", value_parser = PossibleValuesParser::new(VIEWS))]
    view: String,
    /// Print one picture, of rates over one interval, and leave
    #[arg(long)]
    once: bool,
}

const VIEWS: [&str; 5] = ["vips", "backends", "drops", "sessions", "alarms"];

fn asking(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).ok_or_else(|| "a time looks like 500ms, 1s or 1m".to_owned())?;
    if (LEAST_INTERVAL..=MOST_INTERVAL).contains(&time) {
        Ok(time)
    } else {
        Err("from 200ms to 1h".to_owned())
    }
}

impl Top {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        let client = Client::with_patience(context.client.socket(), PATIENCE);
        if self.once {
            return self.once(&client, context.json).await;
        }
        if context.json {
            let message = "a live picture is for people: add --once for one object".to_owned();
            return Err(CliError::Usage { command: "top", message });
        }
        if !stdin().is_terminal() || !stdout().is_terminal() {
            let hint = "anycast-lb top --once prints one picture; anycast-lb stats --json is for programs";
            return Err(CliError::failed(
                "no_terminal",
                "top needs a terminal, and this is none",
                Some(hint),
            ));
        }
        // What can be said without the screen is said before it is taken.
        let (at, facts) = Facts::ask(&client, None).await?;
        let host = Host { findings: facts.status.findings.clone(), at };
        let mut state = self.state();
        state.step(Instant::now(), Event::Answer(at, Box::new(facts)));
        let mut screen = Screen::take().map_err(terminal)?;
        let result = follow(&client, &mut state, host, &mut screen).await;
        drop(screen);
        result
    }

    fn state(&self) -> State {
        let mut state = State::new(Instant::now(), self.interval);
        let number = VIEWS.iter().position(|v| *v == self.view).unwrap_or(View::Vips.index());
        let key = KeyCode::Char(char::from_digit(number as u32 + 1, 10).unwrap_or('1'));
        state.step(Instant::now(), Event::Key(KeyEvent::new(key, KeyModifiers::NONE)));
        state
    }

    /// Rates need two answers.
    async fn once(self, client: &Client, json: bool) -> Result<(), CliError> {
        let (first_at, first) = Facts::ask(client, None).await?;
        tokio::time::sleep(self.interval).await;
        let (at, facts) = Facts::ask(client, Some(first.status.findings.clone())).await?;
        if json {
            let mut meter = Meter::default();
            Overview::new(first, &mut meter, first_at);
            let answer = Answer::new(Overview::new(facts, &mut meter, at));
            let text = serde_json::to_string(&answer)
                .map_err(|e| CliError::failed("io", format!("the answer cannot be written: {e}"), None))?;
            return print_line(&text);
        }
        let mut state = self.state();
        state.step(Instant::now(), Event::Answer(first_at, Box::new(first)));
        state.step(Instant::now(), Event::Answer(at, Box::new(facts)));
        let (width, height) = if stdout().is_terminal() {
            // What the shell writes next takes a line.
            crossterm::terminal::size().map_or(PICTURE, |(width, height)| (width, height.saturating_sub(1)))
        } else {
            PICTURE
        };
        print(&picture(&state, width, height))
    }
}

/// One picture as lines of text, without colours.
fn picture(state: &State, width: u16, height: u16) -> String {
    let area = Rect { x: 0, y: 0, width, height };
    let mut buffer = Buffer::empty(area);
    draw(&mut buffer, area, state, Instant::now(), Palette { colours: false });
    lines(&buffer)
}

/// What stands in a buffer; a wide character takes two cells, of which the second is empty.
fn lines(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut out = String::new();
    for y in area.top()..area.bottom() {
        let mut line = String::new();
        let mut x = area.left();
        while x < area.right() {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += u16::try_from(text::width(symbol)).unwrap_or(1).max(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Colours are unwanted where `NO_COLOR` says anything.
fn palette() -> Palette {
    Palette { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
}

fn terminal(error: std::io::Error) -> CliError {
    CliError::failed("terminal", format!("the terminal: {error}"), None)
}

fn watch(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|e| CliError::failed("io", format!("signals: {e}"), None))
}

type Asking = Pin<Box<dyn Future<Output = Result<(Instant, Facts), ClientError>>>>;

/// What is known of the host, and since when.
struct Host {
    findings: Vec<HostFinding>,
    at: Instant,
}

impl Host {
    /// None when it is to be looked at again.
    fn known(&self, now: Instant) -> Option<Vec<HostFinding>> {
        let fresh = now.saturating_duration_since(self.at) < FINDINGS_EVERY;
        fresh.then(|| self.findings.clone())
    }

    /// From an answer to a question of before.
    fn learn(&mut self, asked: bool, at: Instant, facts: &Facts) {
        if asked {
            *self = Host { findings: facts.status.findings.clone(), at };
        }
    }
}

async fn follow(
    client: &Client,
    state: &mut State,
    mut host: Host,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let palette = palette();
    let (mut terminate, mut hangup) = (watch(SignalKind::terminate())?, watch(SignalKind::hangup())?);
    let mut input = EventStream::new();
    let mut due = interval(state.interval());
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due.reset();
    let mut redraw = interval(REDRAW);
    let mut asking: Option<Asking> = None;
    let mut asked_host = false;
    while !state.leaving() {
        screen.draw(|buffer, area| draw(buffer, area, state, Instant::now(), palette)).map_err(terminal)?;
        tokio::select! {
            event = input.next() => match event {
                Some(Ok(Input::Key(key))) => state.step(Instant::now(), Event::Key(key)),
                // A new size, the focus: the next picture shows it.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(terminal(error)),
                None => return Ok(()),
            },
            answer = answered(&mut asking) => {
                asking = None;
                let event = match answer {
                    Ok((at, facts)) => {
                        host.learn(asked_host, at, &facts);
                        Event::Answer(at, Box::new(facts))
                    }
                    Err(error) => Event::Silence(error.body().message),
                };
                state.step(Instant::now(), event);
            }
            _ = due.tick(), if asking.is_none() => {
                let (client, known) = (client.clone(), host.known(Instant::now()));
                asked_host = known.is_none();
                asking = Some(Box::pin(async move { Facts::ask(&client, known).await }));
            }
            _ = redraw.tick() => {}
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
    }
    Ok(())
}

async fn answered(asking: &mut Option<Asking>) -> Result<(Instant, Facts), ClientError> {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_limits() {
        assert_eq!(asking("500ms"), Ok(Duration::from_millis(500)));
        assert!(asking("100ms").is_err() && asking("2h").is_err() && asking("1").is_err());
    }

    #[test]
    fn the_host_is_looked_at_now_and_then() {
        let at = Instant::now();
        let facts = crate::overview::testing::facts();
        let mut host = Host { findings: Vec::new(), at };
        assert_eq!(host.known(at + FINDINGS_EVERY / 2), Some(Vec::new()));
        assert_eq!(host.known(at + FINDINGS_EVERY), None);
        host.learn(false, at + FINDINGS_EVERY, &facts);
        assert_eq!(host.known(at + FINDINGS_EVERY), None);
        host.learn(true, at + FINDINGS_EVERY, &facts);
        assert_eq!(host.known(at + FINDINGS_EVERY), Some(facts.status.findings));
    }

    #[test]
    fn a_view_can_be_chosen_at_the_start() {
        for (view, word) in View::ALL.into_iter().zip(VIEWS) {
            let top = Top { interval: LEAST_INTERVAL, view: word.to_owned(), once: false };
            assert_eq!(top.state().view(), view);
        }
    }
}
