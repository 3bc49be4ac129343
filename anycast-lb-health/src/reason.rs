//! Why a check failed, in words of bounded length.

use std::fmt;

/// Longest reason in bytes.
const LONGEST: usize = 200;

/// Why a check failed. What a peer or a command said may be part of it: it is cut, and control characters
/// are escaped, so that it is one line of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// A reason of these words.
    pub fn new(words: impl fmt::Display) -> Self {
        let mut bounded = Bounded(String::new());
        // It refuses what is beyond its bound: what it has is what is wanted then.
        let _ = fmt::write(&mut bounded, format_args!("{words}"));
        Reason(bounded.0)
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes text up to [`LONGEST`] bytes.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const MORE: char = '…';
        for c in text.chars() {
            let before = self.0.len();
            match c {
                '\n' | '\t' | '\r' => self.0.push(' '),
                c if c.is_control() => self.0.extend(c.escape_default()),
                c => self.0.push(c),
            }
            if self.0.len() > LONGEST - MORE.len_utf8() {
                self.0.truncate(before);
                self.0.push(MORE);
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_cut_and_stays_one_line() {
        let reason = Reason::new(format_args!("it said {:?}", "ä".repeat(1000)));
        assert!(reason.as_str().len() <= LONGEST && reason.as_str().ends_with("ä…"), "{reason}");
        assert_eq!(Reason::new("a\nb\u{1b}[1m").as_str(), "a b\\u{1b}[1m");
        assert_eq!(Reason::new("status 503").as_str(), "status 503");
        assert!(Reason::new("\u{1b}".repeat(500)).as_str().len() <= LONGEST);
    }
}
