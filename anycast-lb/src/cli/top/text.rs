//! Text for a terminal: harmless, cut to a width, numbers in few characters.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use crate::overview::time::time;

/// What stands for a character that is none.
const STAND_IN: char = '\u{fffd}';
/// What stands for what was cut off.
const CUT: char = '…';

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text with a stand-in for all that a terminal obeys instead of showing it (control characters), that takes
/// no room (joiners, marks), or that turns the direction of what follows.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if shows(c) { c } else { STAND_IN }).collect()
}

fn shows(c: char) -> bool {
    let turns =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns && c.width().is_some_and(|w| w > 0)
}

/// The text, which must be [`plain`], in at most `room` columns: its end is cut off.
pub fn clip(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let Some(room) = room.checked_sub(1) else { return String::new() };
    let mut out = head(text, room).to_owned();
    out.push(CUT);
    out
}

/// As [`clip`], and it is the middle that is cut out: of long addresses the end tells more.
pub fn clip_middle(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let Some(room) = room.checked_sub(1) else { return String::new() };
    let mut out = head(text, room - room / 2).to_owned();
    out.push(CUT);
    let reversed: String = text.chars().rev().collect();
    out.extend(head(&reversed, room / 2).chars().rev());
    out
}

/// As much from the beginning as fits.
fn head(text: &str, room: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        used += c.width().unwrap_or(0);
        (used > room).then_some(at)
    });
    &text[..end.unwrap_or(text.len())]
}

/// Broken between words into lines of at most `room` columns, at most `most` of them; a word that is longer is
/// broken too, and what does not fit is cut off.
pub fn wrap(text: &str, room: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if room == 0 || most == 0 {
        return lines;
    }
    for mut word in text.split_whitespace() {
        if let Some(line) = lines.last_mut()
            && line.width() + 1 + word.width() <= room
        {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        while word.width() > room {
            let part = head(word, room);
            // A character wider than the room would never fit.
            if part.is_empty() {
                return lines;
            }
            lines.push(part.to_owned());
            word = &word[part.len()..];
        }
        lines.push(word.to_owned());
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = clip(&format!("{last} {CUT}"), room);
        }
    }
    lines
}

/// A number in at most six characters: `0`, `7.3`, `942`, `12.3 k`, `123 M`.
pub fn short(number: f64) -> String {
    const STEPS: [(f64, &str); 5] = [(1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"), (1e15, "P")];
    if !number.is_finite() || number < 0.05 {
        return "0".to_owned();
    }
    // Limits are where rounding would make four digits.
    if number < 999.5 {
        return digits(number);
    }
    let step = STEPS.iter().find(|(size, _)| number / size < 999.5);
    let (size, letter) = step.copied().unwrap_or((1e15, "P"));
    format!("{} {letter}", digits((number / size).min(999.0)))
}

fn digits(number: f64) -> String {
    if number < 99.95 {
        format!("{number:.1}").trim_end_matches(".0").to_owned()
    } else {
        format!("{number:.0}")
    }
}

/// A share as `25.0%`.
pub fn share(ppm: u32) -> String {
    format!("{:.1}%", f64::from(ppm) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::testing::HOSTILE;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let text = plain(HOSTILE);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains(['\u{202e}', '\u{200b}', '\u{9b}']), "{text:?}");
        assert!(text.contains("[31mred") && text.contains("<img src=x") && text.contains("漢字"), "{text:?}");
        assert_eq!(plain("fra1-lb1 é ß →"), "fra1-lb1 é ß →");
        // Each character takes the columns that are counted for it.
        assert_eq!(text.chars().filter_map(UnicodeWidthChar::width).sum::<usize>(), width(&text));
    }

    #[test]
    fn what_is_cut_fits() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdef", 5), "abcd…");
        assert_eq!(clip_middle("2001:db8:ffff::1:53", 11), "2001:…:1:53");
        assert_eq!(clip("漢字漢字", 4), "漢…", "half a character does not fit");
        for room in 0..12 {
            for text in [plain(HOSTILE), "漢字漢字漢字".to_owned(), "short".to_owned()] {
                assert!(width(&clip(&text, room)) <= room);
                assert!(width(&clip_middle(&text, room)) <= room);
                assert!(wrap(&text, room, 2).iter().all(|line| width(line) <= room));
            }
        }
    }

    #[test]
    fn prose_is_wrapped_and_what_is_too_much_is_cut() {
        assert_eq!(wrap("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrap("one two three", 7, 1), ["one tw…"]);
        assert_eq!(wrap("abcdefghij", 4, 9), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("漢", 1, 9), [""; 0]);
    }

    #[test]
    fn numbers_take_few_characters_and_round_well() {
        for (number, text) in [
            (0.0, "0"),
            (0.04, "0"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
            (-3.0, "0"),
            (0.5, "0.5"),
            (99.94, "99.9"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1 k"),
            (12_345.0, "12.3 k"),
            (999_600.0, "1 M"),
            (1.5e9, "1.5 G"),
            (1e30, "999 P"),
        ] {
            assert_eq!(short(number), text);
            assert!(width(&short(number)) <= 6);
        }
    }
}
