//! Reading what Rust's test harness prints.

use std::ops::AddAssign;

/// How many tests came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: u32,
    /// Failed.
    pub failed: u32,
    /// Ignored or left out.
    pub skipped: u32,
}

impl Counts {
    /// A single test that failed.
    pub const ONE_FAILED: Counts = Counts { passed: 0, failed: 1, skipped: 0 };
    /// A single test that passed.
    pub const ONE_PASSED: Counts = Counts { passed: 1, failed: 0, skipped: 0 };
    /// A single test that was left out.
    pub const ONE_SKIPPED: Counts = Counts { passed: 0, failed: 0, skipped: 1 };
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// The last summary in a test program's output, if it got that far.
///
/// `test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 5 filtered out; finished in 0.00s`
///
/// Filtered-out tests were not asked for and count nowhere.
pub fn summary(output: &str) -> Option<Counts> {
    output.lines().rev().find_map(|line| parse_summary(&without_colour(line)))
}

/// All summaries added up: `cargo test --doc` prints one a crate or more.
pub fn all_summaries(output: &str) -> Option<Counts> {
    let mut sum = None;
    for counts in output.lines().filter_map(|line| parse_summary(&without_colour(line))) {
        *sum.get_or_insert_with(Counts::default) += counts;
    }
    sum
}

fn parse_summary(line: &str) -> Option<Counts> {
    let (verdict, rest) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    if !matches!(verdict, "ok" | "FAILED") {
        return None;
    }
    let mut counts = Counts::default();
    let mut seen = 0;
    for part in rest.split("; ") {
        let Some((number, word)) = part.split_once(' ') else { continue };
        let field = match word {
            "passed" => &mut counts.passed,
            "failed" => &mut counts.failed,
            "ignored" => &mut counts.skipped,
            _ => continue,
        };
        *field = number.parse().ok()?;
        seen += 1;
    }
    (seen == 3).then_some(counts)
}

/// The names that `--list --format terse` printed.
pub fn listed(output: &str) -> Vec<String> {
    output.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Takes out the escape sequences for colours (ECMA-48 SGR).
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, behind)| behind);
    }
    plain.push_str(rest);
    // Some terminals are also sent a change of character set.
    plain.replace("\x1b(B", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u32, failed: u32, skipped: u32) -> Option<Counts> {
        Some(Counts { passed, failed, skipped })
    }

    #[test]
    fn the_summary_is_read() {
        let output = "running 3 tests\ntest a ... ok\n\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s\n\n";
        assert_eq!(summary(output), counts(2, 0, 1));
    }

    #[test]
    fn a_failure_is_read_through_colours() {
        let output = "test result: \x1b[31mFAILED\x1b(B\x1b[m. 3 passed; 1 failed; 0 ignored; 0 measured; \
            0 filtered out; finished in 0.00s";
        assert_eq!(summary(output), counts(3, 1, 0));
    }

    #[test]
    fn the_last_summary_counts_when_a_test_prints_one() {
        let output = "test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
            test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(summary(output), counts(0, 1, 0));
        assert_eq!(all_summaries(output), counts(9, 1, 0));
    }

    #[test]
    fn no_summary_is_not_zero_failures() {
        assert_eq!(summary("running 3 tests\ntest a ... "), None);
        assert_eq!(summary("test result: ok. many passed; 0 failed; 0 ignored"), None);
        assert_eq!(summary("test result: ok. 2 passed"), None);
        assert_eq!(all_summaries(""), None);
    }

    #[test]
    fn the_list_has_tests_only() {
        assert_eq!(
            listed("kernel::a: test\nlab::b: benchmark\nlab::c: test\n\n2 tests"),
            ["kernel::a", "lab::c"]
        );
    }
}
