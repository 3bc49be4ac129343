//! The picture: state and now → cells of the screen. Text comes here harmless, and is cut to its place here.

use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Sparkline, Widget};

use super::fit::{GAP, Want, fit};
use super::help;
use super::sheet::{Column, Line, Sheet, Sort, Tone, View};
use super::state::{Moment, Top};
use super::text::{clip, clip_middle, plain, short, time, width, wrap};
use crate::overview::Overview;
use crate::overview::rates::Rate;

/// Columns and lines below which nothing sensible fits.
pub const LEAST: (u16, u16) = (60, 15);
/// Lines from which on there are plots.
const PLOTS_FROM: u16 = 32;
/// Lines of a plot, its title included.
const PLOT: u16 = 6;
/// From here on longer details are shown.
const ROOMY: u16 = 24;

/// How tones look.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Whether colours are wanted; without them, weight and reversal tell things apart.
    pub colours: bool,
}

impl Palette {
    fn coloured(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn of(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Dim => Style::new().add_modifier(Modifier::DIM),
            Tone::Good => self.coloured(Color::Green),
            Tone::Notable => self.coloured(Color::Yellow),
            Tone::Bad => self.coloured(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    fn accent(self) -> Style {
        self.coloured(Color::Cyan)
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws all of it into `area`.
pub fn draw(buffer: &mut Buffer, area: Rect, top: &Top, now: Instant, palette: Palette) {
    let mut pen = Pen { buffer, area, palette };
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return pen.too_small();
    }
    let Some(overview) = top.overview() else {
        pen.put(0, 0, &[(" waiting for the first answer", DIM)]);
        return;
    };
    pen.title(overview, top, now);
    pen.totals(overview);
    pen.tabs(overview, top);
    let mut line = 3;
    if area.height >= PLOTS_FROM {
        pen.plots(line, top);
        line += PLOT;
    }
    let footer = area.height - 1;
    if top.help() {
        pen.help(line, footer);
    } else if let Some(sheet) = top.sheet() {
        pen.sheet(line, footer, top, &sheet);
    }
    pen.footer(footer, top, now);
}

struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    palette: Palette,
}

type Part<'a> = (&'a str, Style);

impl Pen<'_> {
    fn wide(&self) -> usize {
        usize::from(self.area.width)
    }

    /// Puts parts one after another, from a place on; what does not fit is cut. Returns where they end.
    fn put(&mut self, column: usize, line: u16, parts: &[Part<'_>]) -> usize {
        let mut at = column;
        for (text, style) in parts {
            let text = clip(text, self.wide().saturating_sub(at));
            // As wide as the area is, the place fits.
            let (x, y) = (self.area.x + u16::try_from(at).unwrap_or(u16::MAX), self.area.y + line);
            if !text.is_empty() {
                self.buffer.set_string(x, y, &text, *style);
                at += width(&text);
            }
        }
        at
    }

    /// Puts parts so that they end at the right edge, if they fit between it and `left`.
    fn put_right(&mut self, left: usize, line: u16, parts: &[Part<'_>]) {
        let all: usize = parts.iter().map(|(text, _)| width(text)).sum();
        if let Some(column) = self.wide().checked_sub(all).filter(|&c| c >= left) {
            self.put(column, line, parts);
        }
    }

    fn paint_line(&mut self, line: u16, style: Style) {
        let row = Rect { y: self.area.y + line, height: 1, ..self.area };
        self.buffer.set_style(row, style);
    }

    fn too_small(&mut self) {
        let text = format!(
            "{} x {} is too small: {} x {} at least",
            self.area.width, self.area.height, LEAST.0, LEAST.1
        );
        let lines = wrap(&text, self.wide(), usize::from(self.area.height));
        for (n, text) in lines.iter().enumerate() {
            self.put(0, n as u16, &[(text, BOLD)]);
        }
    }

    fn title(&mut self, overview: &Overview, top: &Top, now: Instant) {
        let node = &overview.node;
        let state = match top.silence(now) {
            Some((silent, _)) => (format!(" no answer since {} ", time(silent.as_secs())), Tone::Bad),
            None if top.paused() => (" paused ".to_owned(), Tone::Notable),
            None => (format!(" every {} ", every(top.interval())), Tone::Plain),
        };
        let state_style = if state.1 == Tone::Plain { DIM } else { self.palette.of(state.1).patch(REVERSED) };
        let name = clip(&plain(&node.node), 24);
        let pop = clip(&plain(&node.pop), 16);
        let mut rest = format!(" PoP {pop}, {}, generation {}", plain(&node.role), node.generation);
        rest.push_str(&format!(", up {}", time(node.uptime_seconds)));
        let word = match node.maintenance.as_str() {
            "in-service" => String::new(),
            other => format!(" {} ", plain(other)),
        };
        // The state is never cut: the rest gives it room.
        let room = self.wide() - width(&state.0) - width(&word) - 1;
        let head = clip(&format!(" anycast-lb top  {name} "), room);
        let rest = clip(&rest, room.saturating_sub(width(&head)));
        let end = self.put(0, 0, &[(&head, BOLD), (&rest, DIM), (" ", DIM)]);
        let end = self.put(end, 0, &[(&word, self.palette.of(Tone::Notable).patch(REVERSED))]);
        self.put_right(end, 0, &[(&state.0, state_style)]);
    }

    fn totals(&mut self, overview: &Overview) {
        let totals = &overview.totals;
        let packets = |rate: Option<Rate>| rate.map_or_else(|| "-".to_owned(), |r| short(r.packets));
        let bits = totals.received.map_or_else(|| "-".to_owned(), |r| short(r.bits));
        let dropping = totals.dropped.is_some_and(|r| r.packets > 0.0);
        let drop_style = if dropping { self.palette.of(Tone::Bad) } else { BOLD };
        let alarms = overview.wrongs.len();
        let bad = overview.wrongs.iter().any(|w| w.rank() == 0);
        let alarm = match alarms {
            0 => ("nothing is wrong ".to_owned(), Tone::Good),
            1 => ("1 alarm ".to_owned(), if bad { Tone::Bad } else { Tone::Notable }),
            n => (format!("{n} alarms "), if bad { Tone::Bad } else { Tone::Notable }),
        };
        let end = self.put(
            0,
            1,
            &[
                (" in ", DIM),
                (&packets(totals.received), BOLD),
                (" pkt/s ", DIM),
                (&bits, BOLD),
                (" bit/s  sent ", DIM),
                (&packets(totals.sent), BOLD),
                ("  passed ", DIM),
                (&packets(totals.passed), BOLD),
                ("  dropped ", DIM),
                (&packets(totals.dropped), drop_style),
            ],
        );
        self.put_right(end + 1, 1, &[(&alarm.0, self.palette.of(alarm.1))]);
    }

    fn tabs(&mut self, overview: &Overview, top: &Top) {
        let counts = [
            overview.vips.len(),
            overview.backends.len(),
            overview.drops().filter(|v| v.count.packets > 0).count(),
            overview.sessions.len(),
            overview.wrongs.len(),
        ];
        let mut at = 1;
        for (view, count) in View::ALL.into_iter().zip(counts) {
            let text = format!(" {} {} {} ", view.index() + 1, view.name(), short(count as f64));
            let style =
                if view == top.view() { self.palette.accent().patch(REVERSED).patch(BOLD) } else { DIM };
            at = self.put(at, 2, &[(&text, style), (" ", Style::new())]);
        }
    }

    fn plots(&mut self, line: u16, top: &Top) {
        let third = (self.area.width - 2) / 3;
        let kinds: [(&str, fn(&Moment) -> f64, Tone); 3] = [
            ("packets/s", |m| m.packets, Tone::Good),
            ("bits/s", |m| m.bits, Tone::Plain),
            ("drops/s", |m| m.drops, Tone::Bad),
        ];
        for (n, (title, value, tone)) in kinds.into_iter().enumerate() {
            let x = 1 + n as u16 * third;
            let wide = third.saturating_sub(2);
            let newest = top.moments().rev().take(usize::from(wide)).map(value);
            let mut data: Vec<f64> = newest.collect();
            data.reverse();
            let most = data.iter().copied().fold(0.0, f64::max);
            let now = data.last().copied().unwrap_or(0.0);
            let title = format!("{title}  {}", short(now));
            let end = self.put(usize::from(x), line, &[(&title, BOLD)]);
            self.put(end, line, &[(&format!("  highest {}", short(most)), DIM)]);
            // Room before the oldest, so that now is always at the right.
            let empty = usize::from(wide) - data.len();
            // A part of the highest, finer than what the bars can show.
            let scaled = data.iter().map(|v| if most > 0.0 { (v / most * 1000.0) as u64 } else { 0 });
            let bars: Vec<u64> = std::iter::repeat_n(0, empty).chain(scaled).collect();
            let style = match tone {
                Tone::Plain => self.palette.accent(),
                Tone::Bad => self.palette.coloured(Color::Red),
                _ => self.palette.of(tone),
            };
            let area = Rect { x: self.area.x + x, y: self.area.y + line + 1, width: wide, height: PLOT - 2 };
            Sparkline::default().data(&bars).max(1000).style(style).render(area, self.buffer);
        }
    }

    fn sheet(&mut self, first: u16, footer: u16, top: &Top, sheet: &Sheet) {
        let details = if footer + 1 >= ROOMY { 3 } else { 2 };
        let rule = footer - details - 1;
        let rows = usize::from(rule - first - 1);
        let selected = top.selected(&sheet.lines);
        // The selected line is kept in the middle where there is more than fits.
        let most = sheet.lines.len().saturating_sub(rows);
        let offset = selected.unwrap_or(0).saturating_sub(rows / 2).min(most);
        let shown = &sheet.lines[offset..(offset + rows).min(sheet.lines.len())];
        let widths = widths(sheet, top.sort(), self.wide() - 2);
        self.titles(first, sheet, &widths, top.sort());
        if shown.is_empty() {
            let text = if top.filter().0.is_empty() { sheet.empty } else { "nothing has that in it" };
            self.put(1, first + 2, &[(text, DIM)]);
        }
        for (n, line) in shown.iter().enumerate() {
            let y = first + 1 + n as u16;
            self.line(y, &sheet.columns, line, &widths);
            if selected == Some(offset + n) {
                self.paint_line(y, REVERSED);
            }
        }
        self.put(0, rule, &[(&"─".repeat(self.wide()), DIM)]);
        if sheet.lines.len() > rows {
            let text = format!(" {}-{} of {} ", offset + 1, offset + shown.len(), sheet.lines.len());
            let column = self.wide().saturating_sub(width(&text) + 2);
            self.put(column, rule, &[(&text, DIM)]);
        }
        if let Some(line) = selected.and_then(|n| sheet.lines.get(n)) {
            let parts = wrap(&line.detail, self.wide() - 2, usize::from(details));
            for (n, text) in parts.iter().enumerate() {
                self.put(1, rule + 1 + n as u16, &[(text, Style::new())]);
            }
        }
    }

    fn titles(&mut self, y: u16, sheet: &Sheet, widths: &[Option<usize>], sort: Sort) {
        let mut at = 1;
        for (n, (column, room)) in sheet.columns.iter().zip(widths).enumerate() {
            let Some(room) = *room else { continue };
            let title = titled(column, sort, n);
            let style = if sort.column == Some(n) { self.palette.accent().patch(BOLD) } else { BOLD };
            self.put(at, y, &[(&aligned(&title, room, column.right), style)]);
            at += room + GAP;
        }
    }

    fn line(&mut self, y: u16, columns: &[Column], line: &Line, widths: &[Option<usize>]) {
        let mut at = 1;
        for ((column, cell), room) in columns.iter().zip(&line.cells).zip(widths) {
            let Some(room) = *room else { continue };
            let text = if column.grows { clip(&cell.text, room) } else { clip_middle(&cell.text, room) };
            self.put(at, y, &[(&aligned(&text, room, column.right), self.palette.of(cell.tone))]);
            at += room + GAP;
        }
    }

    fn help(&mut self, first: u16, footer: u16) {
        for (n, (keys, what)) in help::KEYS.iter().enumerate() {
            let y = first + n as u16;
            if y >= footer {
                return;
            }
            self.put(2, y, &[(&format!("{keys:<16}"), BOLD), (what, Style::new())]);
        }
    }

    fn footer(&mut self, y: u16, top: &Top, now: Instant) {
        self.paint_line(y, REVERSED);
        let (filter, typing) = top.filter();
        if typing {
            let text = clip(filter, self.wide().saturating_sub(40));
            let end = self.put(0, y, &[(" filter: ", BOLD), (&text, Style::new()), ("▏", Style::new())]);
            self.put_right(end, y, &[("Enter keeps it, Esc clears it ", Style::new())]);
            return;
        }
        if let Some((_, Some(reason))) = top.silence(now) {
            self.put(0, y, &[(" ", BOLD), (reason, BOLD)]);
            return;
        }
        if top.help() {
            self.put(0, y, &[(" any key goes back", Style::new())]);
            return;
        }
        let mut parts: Vec<(String, Style)> = vec![(" ".to_owned(), Style::new())];
        let keys = [
            ("1-5", "view"),
            ("s", "sort"),
            ("r", "reverse"),
            ("/", "filter"),
            ("p", "pause"),
            ("?", "help"),
            ("q", "quit"),
        ];
        for (key, what) in keys {
            let all_too = key == "/" && top.view() == View::Drops;
            if all_too {
                parts.extend([("a".to_owned(), BOLD), (" all  ".to_owned(), Style::new())]);
            }
            parts.extend([(key.to_owned(), BOLD), (format!(" {what}  "), Style::new())]);
        }
        let borrowed: Vec<Part<'_>> = parts.iter().map(|(text, style)| (text.as_str(), *style)).collect();
        let end = self.put(0, y, &borrowed);
        if !filter.is_empty() {
            let text = clip(filter, self.wide().saturating_sub(end + 12));
            self.put_right(end, y, &[("filter: ", BOLD), (&text, Style::new()), (" ", Style::new())]);
        }
    }
}

/// `1 s`, `0.5 s`.
fn every(interval: Duration) -> String {
    format!("{} s", interval.as_secs_f64())
}

fn titled(column: &Column, sort: Sort, number: usize) -> String {
    let arrow = match (sort.column == Some(number), sort.down) {
        (true, true) => "▼",
        (true, false) => "▲",
        (false, _) => "",
    };
    format!("{}{arrow}", column.title)
}

/// How wide each column is in `room`; none = it is left out.
pub(super) fn widths(sheet: &Sheet, sort: Sort, room: usize) -> Vec<Option<usize>> {
    let want = |(n, column): (usize, &Column)| {
        let title = width(&titled(column, sort, n));
        let cells = sheet.lines.iter().map(|l| width(&l.cells[n].text)).max().unwrap_or(0);
        // What one sorts by is seen.
        let rank = if sort.column == Some(n) { 0 } else { column.rank };
        Want {
            whole: cells.max(title).min(room.max(title)),
            least: column.least.max(title),
            rank,
            grows: column.grows,
        }
    };
    fit(&sheet.columns.iter().enumerate().map(want).collect::<Vec<_>>(), room)
}

fn aligned(text: &str, room: usize, right: bool) -> String {
    let padding = " ".repeat(room.saturating_sub(width(text)));
    if right { format!("{padding}{text}") } else { format!("{text}{padding}") }
}
