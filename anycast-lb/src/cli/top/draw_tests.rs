//! Pictures at the sizes that terminals have.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::draw::{Palette, draw, widths};
use super::fit::GAP;
use super::help::KEYS;
use super::lines;
use super::state::{Event, Top};
use super::text::width;
use crate::overview::facts::Facts;
use crate::overview::testing::{facts, hostile};

const SECOND: Duration = Duration::from_secs(1);

/// A state that has heard `facts` twice, with some packets between.
fn state(facts: Facts) -> (Top, Instant) {
    let start = Instant::now();
    let mut top = Top::new(start, SECOND);
    let mut later = facts.clone();
    top.step(start, Event::Answer(start, Box::new(facts)));
    later.verdicts[0].packets += 1_234_000;
    later.verdicts[0].bytes += 123_400_000;
    later.verdicts[2].packets += 17;
    later.verdicts[2].bytes += 1700;
    later.vips[0].packets += 1_200_000;
    later.vips[0].bytes += 120_000_000;
    later.vips[1].packets += 34_000;
    later.vips[1].bytes += 3_400_000;
    later.backends[0].packets += 300_000;
    later.backends[0].bytes += 30_000_000;
    later.backends[1].packets += 900_000;
    later.backends[1].bytes += 90_000_000;
    top.step(start + SECOND, Event::Answer(start + SECOND, Box::new(later)));
    (top, start + SECOND)
}

fn press(top: &mut Top, now: Instant, keys: &str) {
    for c in keys.chars() {
        top.step(now, Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)));
    }
}

fn picture(top: &Top, now: Instant, size: (u16, u16), colours: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a screen in memory");
    terminal
        .draw(|frame| {
            let area = frame.area();
            draw(frame.buffer_mut(), area, top, now, Palette { colours });
        })
        .expect("it draws");
    terminal
}

fn text(top: &Top, now: Instant, size: (u16, u16)) -> String {
    lines(picture(top, now, size, false).backend().buffer())
}

/// All views of what is usual and of what is hostile.
fn all(mut look: impl FnMut(&mut Top, Instant, &str)) {
    for (facts, name) in [(facts(), "usual"), (hostile(), "hostile")] {
        for keys in ["1", "2", "3", "3a", "4", "5", "?", "/no such thing", "p"] {
            let (mut top, now) = state(facts.clone());
            press(&mut top, now, keys);
            look(&mut top, now, &format!("{name} {keys}"));
        }
    }
}

#[test]
fn backends_in_80_columns() {
    let (mut top, now) = state(facts());
    press(&mut top, now, "2jj");
    let expected = [
        " anycast-lb top  fra1-lb1  PoP fra1, ingress, generation 7, up 3d4h   every 1 s",
        " in 1.2 M pkt/s 987 M bit/s  sent 1.2 M  passed 0  dropped 17          3 alarms",
        "  1 VIPs 3   2 Backends 4   3 Drops 2   4 Sessions 7   5 Alarms 3",
        " BACKEND         POOL  STATE     HEALTH  PKT/S  SHARE   ASKED  NOTE",
        " 10.0.0.11       web   active    up      300 k  25.0%   25.0%",
        " 10.0.0.12       web   active    up      900 k  75.0%   75.0%",
        " 10.0.0.13       web   draining  up          0   0.0%    0.0%  12 flows, 29m50s",
        " 2001:db…f:5353  dns   active    down        0      -  100.0%  connect: connec…",
    ];
    let details = [
        " 10.0.0.13 in pool web, PoP fra1: draining, configured draining, weight 100,",
        " owns 0 slots. Health up by check for 1h01m. Left of the drain: 12 flows,",
        " 29m50s. Next hop 02:00:00:00:00:0b on eth0, MTU 1500.",
        " 1-5 view  s sort  r reverse  / filter  p pause  ? help  q quit",
    ];
    let text = text(&top, now, (80, 24));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..8], expected, "{text}");
    assert!(lines[8..19].iter().all(|line| line.is_empty()), "{text}");
    assert_eq!(lines[19], "─".repeat(80));
    assert_eq!(lines[20..], details, "{text}");
}

#[test]
fn a_screen_that_is_too_small_says_what_is_enough() {
    let (top, now) = state(facts());
    let text = text(&top, now, (40, 10));
    assert_eq!(text.trim_end(), "40 x 10 is too small: 60 x 15 at least");
}

#[test]
fn titles_are_whole_and_columns_are_apart() {
    all(|top, now, name| {
        if top.help() {
            return;
        }
        let sheet = top.sheet().expect("it has answered");
        for size in [(60, 15), (80, 24), (120, 40), (200, 50)] {
            let widths = widths(&sheet, top.sort(), usize::from(size.0) - 2);
            let first = if size.1 >= 32 { 9 } else { 3 };
            let terminal = picture(top, now, size, false);
            let buffer = terminal.backend().buffer();
            let row = |y: u16| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>();
            assert!(!row(first).contains('…'), "{name} {size:?}: {}", row(first));
            let mut at = 1;
            for room in widths.into_iter().flatten() {
                at += room + GAP;
                let rows = (size.1 - first - 6).min(sheet.lines.len() as u16 + 1);
                for y in (first..first + rows).filter(|_| at < usize::from(size.0)) {
                    let gap = buffer[(at as u16 - 1, y)].symbol();
                    assert_eq!(gap, " ", "{name} {size:?} column {at}: {}", row(y));
                }
            }
            assert!(at <= usize::from(size.0) - 1 + GAP, "{name} {size:?}");
        }
    });
}

#[test]
fn no_size_is_too_odd() {
    all(|top, now, _| {
        for width in [1, 7, 59, 60, 61, 80, 97, 200] {
            for height in [1, 14, 15, 16, 31, 32, 70] {
                let terminal = picture(top, now, (width, height), true);
                assert_eq!(terminal.backend().buffer().area.width, width);
            }
        }
    });
}

#[test]
fn hostile_text_is_only_text() {
    let (mut top, now) = state(hostile());
    for keys in ["1", "2", "3", "4", "5"] {
        press(&mut top, now, keys);
        for size in [(80, 24), (200, 50)] {
            let shown = text(&top, now, size);
            assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
            assert!(!shown.contains(['\u{202e}', '\u{200b}']), "{shown:?}");
            assert!(shown.lines().all(|line| width(line) <= usize::from(size.0)), "{shown}");
        }
        let shown = text(&top, now, (200, 50));
        assert!(shown.contains("<img src=x onerror=alert(1)>"), "{shown}");
    }
}

#[test]
fn a_daemon_that_went_away_is_said_on_top_and_why_below() {
    let (mut top, now) = state(facts());
    top.step(now, Event::Silence("no daemon answers at /run/x.sock".into()));
    let text = text(&top, now + 5 * SECOND, (80, 24));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("no answer since 5 s"), "{}", lines[0]);
    assert_eq!(lines[23], " no daemon answers at /run/x.sock");
}

#[test]
fn what_is_sorted_by_is_shown_and_marked() {
    let (mut top, now) = state(facts());
    // Bytes, which a narrow screen has no room for otherwise.
    press(&mut top, now, "1");
    let bytes = top.sheet().expect("it has answered").columns.iter().position(|c| c.title == "BYTES");
    (2..bytes.expect("a column")).for_each(|_| press(&mut top, now, "s"));
    assert!(text(&top, now, (60, 15)).contains("BYTES▼"));
    press(&mut top, now, "r");
    assert!(text(&top, now, (60, 15)).contains("BYTES▲"));
}

#[test]
fn without_colours_there_are_none() {
    all(|top, now, name| {
        let colour = |colours: bool| {
            let terminal = picture(top, now, (120, 40), colours);
            let cells = terminal.backend().buffer().content().iter();
            cells.filter(|c| c.fg != Color::Reset || c.bg != Color::Reset).count()
        };
        assert_eq!(colour(false), 0, "{name}");
        assert!(colour(true) > 0, "{name}");
    });
}

#[test]
fn help_fits_the_smallest_screen() {
    let (mut top, now) = state(facts());
    press(&mut top, now, "?");
    let text = text(&top, now, (80, 15));
    for (keys, what) in KEYS {
        assert!(text.contains(keys) && text.contains(what), "{keys} in {text}");
    }
}

#[test]
fn plots_stand_where_there_is_room() {
    let (top, now) = state(facts());
    assert!(!text(&top, now, (200, 31)).contains("highest"));
    let tall = text(&top, now, (200, 50));
    assert!(tall.contains("packets/s  1.2 M  highest 1.2 M") && tall.contains('█'), "{tall}");
}
