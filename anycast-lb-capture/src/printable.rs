//! Text of others.

/// The text as a terminal shows it and does nothing else: control characters, and those that turn the direction
/// of writing, are escaped.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let breaks = matches!(c, '\u{2028}' | '\u{2029}');
        if c.is_control() || turns || breaks {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_moves_a_cursor() {
        assert_eq!(printable("web \u{e9}"), "web \u{e9}");
        assert_eq!(printable("a\r\n\x1b[2J\u{9b}\u{202e}b"), "a\\r\\n\\u{1b}[2J\\u{9b}\\u{202e}b");
    }
}
