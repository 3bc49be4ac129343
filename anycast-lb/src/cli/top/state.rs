//! What `top` knows and what it is about to show: state, event, now → state.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::sheet::{Line, Sheet, Sort, View};
use super::text::plain;
use crate::overview::Overview;
use crate::overview::facts::Facts;
use crate::overview::rates::Meter;
use crate::overview::ring::Ring;

/// Moments that are kept for the plots: one a column of the widest screen that is likely.
const MOMENTS: usize = 400;
/// Lines that Page Up and Page Down go.
const PAGE: isize = 10;
/// Characters of a filter.
const LONGEST_FILTER: usize = 60;

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// The daemon has answered, and when its counters were read.
    Answer(Instant, Box<Facts>),
    /// It has not, and why.
    Silence(String),
}

/// A moment of the plots.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Packets a second.
    pub packets: f64,
    /// Bits a second.
    pub bits: f64,
    /// Dropped packets a second.
    pub drops: f64,
}

/// How a view is looked at.
#[derive(Clone, Debug)]
struct Look {
    sort: Sort,
    /// The line that is selected; none = the first, whichever that is.
    selected: Option<String>,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Top {
    interval: Duration,
    view: View,
    looks: [Look; View::ALL.len()],
    filter: String,
    typing: bool,
    paused: bool,
    help: bool,
    all_verdicts: bool,
    leaving: bool,
    meter: Meter,
    overview: Option<Overview>,
    moments: Ring<Moment>,
    answered: Instant,
    trouble: Option<String>,
}

impl Top {
    /// Nothing is known yet. The daemon is asked every `interval`.
    pub fn new(now: Instant, interval: Duration) -> Self {
        Top {
            interval,
            view: View::Vips,
            looks: View::ALL.map(|view| Look { sort: Sheet::usual_sort(view), selected: None }),
            filter: String::new(),
            typing: false,
            paused: false,
            help: false,
            all_verdicts: false,
            leaving: false,
            meter: Meter::default(),
            overview: None,
            moments: Ring::new(MOMENTS),
            answered: now,
            trouble: None,
        }
    }

    /// Takes one event.
    pub fn step(&mut self, now: Instant, event: Event) {
        match event {
            Event::Key(key) => self.key(key),
            Event::Answer(at, facts) => {
                self.answered = now;
                self.trouble = None;
                let overview = Overview::new(*facts, &mut self.meter, at);
                self.moments.push(moment(&overview));
                // The meter goes on while the picture stands still, so that no rate is of the whole pause.
                if !self.paused || self.overview.is_none() {
                    self.overview = Some(overview);
                }
            }
            Event::Silence(reason) => self.trouble = Some(plain(&reason)),
        }
    }

    fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            if key.code == KeyCode::Char('c') {
                self.leaving = true;
            }
            return;
        }
        if self.typing {
            return self.type_filter(key.code);
        }
        if self.help {
            self.leaving = key.code == KeyCode::Char('q');
            self.help = false;
            return;
        }
        match key.code {
            KeyCode::Char('q') => self.leaving = true,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Char(digit @ '1'..='5') => self.show(digit as usize - '1' as usize),
            KeyCode::Tab | KeyCode::Right => self.show(self.view.index() + 1),
            KeyCode::BackTab | KeyCode::Left => self.show(self.view.index() + View::ALL.len() - 1),
            KeyCode::Char('s') => self.sort_by_next(1),
            KeyCode::Char('S') => self.sort_by_next(-1),
            KeyCode::Char('r') => self.look_mut().sort.down = !self.look().sort.down,
            KeyCode::Char('a') => self.all_verdicts = !self.all_verdicts,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-PAGE),
            KeyCode::PageDown => self.go(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.look_mut().selected = None,
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX),
            _ => {}
        }
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.chars().count() < LONGEST_FILTER => {
                self.filter.push_str(&plain(c.encode_utf8(&mut [0; 4])));
            }
            _ => {}
        }
    }

    fn show(&mut self, number: usize) {
        self.view = View::ALL[number % View::ALL.len()];
    }

    fn sort_by_next(&mut self, by: isize) {
        let Some(overview) = &self.overview else { return };
        let columns = Sheet::of(self.view, overview, self.all_verdicts).columns;
        // One place more for the daemon's own order, before the first column.
        let places = columns.len() as isize + 1;
        let at = self.look().sort.column.map_or(0, |c| c as isize + 1);
        let column = usize::try_from((at + by).rem_euclid(places) - 1).ok();
        // Of numbers people look for the largest.
        let down = column.is_some_and(|c| columns[c].right);
        self.look_mut().sort = Sort { column, down };
    }

    fn go(&mut self, by: isize) {
        let Some(sheet) = self.sheet() else { return };
        let Some(last) = sheet.lines.len().checked_sub(1) else { return };
        let to = self.selected(&sheet.lines).unwrap_or(0).saturating_add_signed(by).min(last);
        self.look_mut().selected = Some(sheet.lines[to].id.clone());
    }

    fn look(&self) -> &Look {
        &self.looks[self.view.index()]
    }

    fn look_mut(&mut self) -> &mut Look {
        &mut self.looks[self.view.index()]
    }

    /// What the view in front shows, filtered and sorted; none before the first answer.
    pub fn sheet(&self) -> Option<Sheet> {
        let mut sheet = Sheet::of(self.view, self.overview.as_ref()?, self.all_verdicts);
        sheet.arrange(&self.filter, self.look().sort);
        Some(sheet)
    }

    /// Which of these lines is selected: the first where nothing else is, or what was is gone.
    pub fn selected(&self, lines: &[Line]) -> Option<usize> {
        let wanted = self.look().selected.as_ref();
        let found = wanted.and_then(|id| lines.iter().position(|l| l.id == *id));
        found.or((!lines.is_empty()).then_some(0))
    }

    /// For how long there has been no answer, when that is worth a word, and why.
    pub fn silence(&self, now: Instant) -> Option<(Duration, Option<&str>)> {
        let silent = now.saturating_duration_since(self.answered);
        let late = self.interval * 2 + Duration::from_secs(2);
        (self.trouble.is_some() || silent > late).then(|| (silent, self.trouble.as_deref()))
    }

    /// The view in front.
    pub fn view(&self) -> View {
        self.view
    }

    /// How it is sorted.
    pub fn sort(&self) -> Sort {
        self.look().sort
    }

    /// What lines must have in them, and whether it is being typed.
    pub fn filter(&self) -> (&str, bool) {
        (&self.filter, self.typing)
    }

    /// Whether the picture stands still.
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// Whether help is shown.
    pub fn help(&self) -> bool {
        self.help
    }

    /// Whether it is over.
    pub fn leaving(&self) -> bool {
        self.leaving
    }

    /// How often the daemon is asked.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// What is known.
    pub fn overview(&self) -> Option<&Overview> {
        self.overview.as_ref()
    }

    /// What the plots show, the oldest first.
    pub fn moments(&self) -> impl DoubleEndedIterator<Item = &Moment> + ExactSizeIterator {
        self.moments.iter()
    }
}

fn moment(overview: &Overview) -> Moment {
    let received = overview.totals.received.unwrap_or_default();
    let drops = overview.totals.dropped.unwrap_or_default();
    Moment { packets: received.packets, bits: received.bits, drops: drops.packets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::testing::facts;

    const SECOND: Duration = Duration::from_secs(1);

    struct Seen {
        top: Top,
        now: Instant,
        facts: Facts,
    }

    impl Seen {
        fn new() -> Self {
            let now = Instant::now();
            let mut seen = Seen { top: Top::new(now, SECOND), now, facts: facts() };
            seen.answer();
            seen
        }

        fn answer(&mut self) {
            self.now += SECOND;
            self.top.step(self.now, Event::Answer(self.now, Box::new(self.facts.clone())));
        }

        fn keys(&mut self, keys: &str) {
            for c in keys.chars() {
                self.press(KeyCode::Char(c));
            }
        }

        fn press(&mut self, code: KeyCode) {
            self.top.step(self.now, Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        }

        fn ids(&self) -> Vec<String> {
            self.top.sheet().expect("it has answered").lines.into_iter().map(|l| l.id).collect()
        }

        fn selected(&self) -> String {
            let lines = self.top.sheet().expect("it has answered").lines;
            lines[self.top.selected(&lines).expect("there are lines")].id.clone()
        }
    }

    #[test]
    fn views_are_gone_through_by_number_and_by_tab() {
        let mut seen = Seen::new();
        for view in View::ALL {
            seen.keys(&(view.index() + 1).to_string());
            assert_eq!(seen.top.view(), view);
        }
        seen.press(KeyCode::Tab);
        assert_eq!(seen.top.view(), View::Vips);
        seen.press(KeyCode::BackTab);
        assert_eq!(seen.top.view(), View::Alarms);
    }

    #[test]
    fn sorting_goes_round_the_columns_and_each_view_has_its_own() {
        let mut seen = Seen::new();
        seen.keys("2");
        assert_eq!(seen.top.sort(), Sort { column: None, down: false });
        seen.keys("s");
        assert_eq!(seen.top.sort(), Sort { column: Some(0), down: false });
        seen.keys("ssss");
        assert_eq!(seen.top.sort(), Sort { column: Some(4), down: true }, "a number's column");
        seen.keys("r");
        assert_eq!(seen.top.sort(), Sort { column: Some(4), down: false });
        seen.keys("1");
        assert_eq!(seen.top.sort(), Sheet::usual_sort(View::Vips));
        seen.keys("2");
        let columns = seen.top.sheet().expect("it has answered").columns.len();
        (0..columns - 5).for_each(|_| seen.keys("s"));
        assert_eq!(seen.top.sort().column, Some(columns - 1));
        seen.keys("s");
        assert_eq!(seen.top.sort().column, None);
        seen.keys("S");
        assert_eq!(seen.top.sort().column, Some(columns - 1));
    }

    #[test]
    fn the_selected_line_stays_selected_where_it_goes() {
        let mut seen = Seen::new();
        seen.answer();
        seen.press(KeyCode::Down);
        let selected = seen.selected();
        seen.facts.vips.iter_mut().rev().enumerate().for_each(|(n, v)| v.packets += 1000 * (n as u64 + 1));
        seen.answer();
        assert_eq!(seen.selected(), selected);
        seen.press(KeyCode::End);
        assert_eq!(Some(&seen.selected()), seen.ids().last());
        seen.press(KeyCode::PageUp);
        assert_eq!(seen.selected(), seen.ids()[0]);
        // It is removed: the first is selected.
        seen.press(KeyCode::End);
        let gone = seen.selected();
        seen.facts.vips.retain(|v| v.vip.to_string() != gone);
        seen.answer();
        assert_eq!(seen.selected(), seen.ids()[0]);
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut seen = Seen::new();
        seen.keys("/dnsq");
        assert_eq!(seen.top.filter(), ("dnsq", true));
        assert!(!seen.top.leaving(), "q is a letter here");
        seen.press(KeyCode::Backspace);
        seen.press(KeyCode::Enter);
        assert_eq!(seen.top.filter(), ("dns", false));
        assert_eq!(seen.ids(), ["203.0.113.53/any"]);
        seen.press(KeyCode::Esc);
        assert_eq!(seen.ids().len(), 3);
        seen.keys(&format!("/{}", "x".repeat(500)));
        assert_eq!(seen.top.filter().0.len(), LONGEST_FILTER);
        assert!(seen.ids().is_empty());
        seen.press(KeyCode::Down);
    }

    #[test]
    fn a_pause_freezes_the_picture_and_spoils_no_rate() {
        let mut seen = Seen::new();
        seen.keys("p");
        seen.facts.status.generation = 8;
        for _ in 0..10 {
            seen.facts.vips[0].packets += 100;
            seen.answer();
        }
        let overview = seen.top.overview().expect("it has answered");
        assert_eq!((overview.node.generation, overview.vips[0].rate), (7, None));
        seen.keys("p");
        seen.facts.vips[0].packets += 500;
        seen.answer();
        let overview = seen.top.overview().expect("it has answered");
        assert_eq!(overview.node.generation, 8);
        assert_eq!(overview.vips[0].rate.map(|r| r.packets), Some(500.0));
    }

    #[test]
    fn silence_is_said_with_its_reason_and_ends() {
        let mut seen = Seen::new();
        let at = seen.now;
        assert_eq!(seen.top.silence(at + SECOND), None);
        // It hangs.
        assert_eq!(seen.top.silence(at + SECOND * 5), Some((SECOND * 5, None)));
        seen.top.step(at + SECOND, Event::Silence("no daemon\u{1b}[2J".into()));
        assert_eq!(seen.top.silence(at + SECOND), Some((SECOND, Some("no daemon\u{fffd}[2J"))));
        seen.answer();
        assert_eq!(seen.top.silence(seen.now), None);
    }

    #[test]
    fn a_daemon_that_was_loaded_anew_has_no_wild_rates() {
        let mut seen = Seen::new();
        seen.facts.vips[0].packets = 5;
        seen.facts.vips[0].bytes = 500;
        seen.answer();
        let rate = |seen: &Seen| seen.top.overview().and_then(|o| o.vips[0].rate);
        assert_eq!(rate(&seen), None);
        seen.facts.vips[0].packets = 15;
        seen.answer();
        assert_eq!(rate(&seen).map(|r| r.packets), Some(10.0));
    }

    #[test]
    fn help_is_left_by_any_key_and_all_by_q_or_ctrl_c() {
        let mut seen = Seen::new();
        seen.keys("?");
        assert!(seen.top.help());
        seen.keys("2");
        assert!(!seen.top.help() && seen.top.view() == View::Vips);
        seen.keys("/");
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        seen.top.step(seen.now, Event::Key(interrupt));
        assert!(seen.top.leaving());
        let mut seen = Seen::new();
        seen.keys("q");
        assert!(seen.top.leaving());
    }
}
