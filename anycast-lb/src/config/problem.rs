//! What `check` says: mistakes, and settings that are understood but without effect.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file as it was named, or as an `include` found it.
    pub file: PathBuf,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 when the file as a whole is meant.
    pub column: usize,
    /// Which key: `pool "web" backend 10.0.0.11 weight`. Empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write or to do instead.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, self.file.display(), self.line, self.column, &self.key)?;
        write!(f, "{}\n    {}", self.message, self.hint)
    }
}

/// All mistakes found, in the order of files and lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Something that is no mistake but that the operator should know: most often a setting of the
/// language that this release accepts and does not act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The file as it was named, or as an `include` found it.
    pub file: PathBuf,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 when the file as a whole is meant.
    pub column: usize,
    /// Which key; empty when the file as a whole is meant.
    pub key: String,
    /// What to know.
    pub message: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, self.file.display(), self.line, self.column, &self.key)?;
        f.write_str(&self.message)
    }
}

fn write_place(
    f: &mut fmt::Formatter<'_>,
    file: impl fmt::Display,
    line: usize,
    column: usize,
    key: &str,
) -> fmt::Result {
    write!(f, "{file}:")?;
    if line > 0 {
        write!(f, "{line}:{column}:")?;
    }
    f.write_str(" ")?;
    if !key.is_empty() {
        write!(f, "{key}: ")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: usize, column: usize, key: &str) -> Problem {
        Problem {
            file: "/etc/anycast-lb/config.toml".into(),
            line,
            column,
            key: key.into(),
            message: "no such thing".into(),
            hint: "write another".into(),
        }
    }

    #[test]
    fn display_names_file_line_and_key() {
        assert_eq!(
            problem(3, 8, "pool \"web\" slots").to_string(),
            "/etc/anycast-lb/config.toml:3:8: pool \"web\" slots: no such thing\n    write another"
        );
        assert_eq!(
            problem(0, 0, "").to_string(),
            "/etc/anycast-lb/config.toml: no such thing\n    write another"
        );
        let two = Problems(vec![problem(1, 1, ""), problem(2, 1, "")]);
        assert_eq!(two.to_string().lines().count(), 4);
    }

    #[test]
    fn json_is_a_list_of_objects() {
        let json = serde_json::to_value(Problems(vec![problem(3, 8, "k")])).unwrap_or_default();
        assert_eq!(json[0]["line"], 3);
        assert_eq!(json[0]["file"], "/etc/anycast-lb/config.toml");
    }
}
