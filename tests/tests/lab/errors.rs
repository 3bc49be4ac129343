//! What goes wrong is said clearly, leaves with the right exit code, and leaves nothing half done:
//! the released binary seen from outside.

use std::fs;

use anyhow::{Context, Result, ensure};

mod commands;
mod host;
mod mistakes;
mod place;
mod running;

use place::{Answer, Place, isolated};

/// Columns of every terminal.
const COLUMNS: usize = 80;
/// Begins every colour.
const ESCAPE: char = '\x1b';

/// No colour, and no line longer than a terminal is wide.
fn fits(what: &str, text: &str) -> Result<()> {
    ensure!(!text.contains(ESCAPE), "{what} is coloured:\n{text}");
    let long = text.lines().find(|line| line.chars().count() > COLUMNS);
    ensure!(long.is_none(), "{what} does not fit {COLUMNS} columns: {long:?}");
    Ok(())
}

/// The one object of a failed `--json` command.
fn error_object(answer: &Answer) -> Result<serde_json::Value> {
    let object: serde_json::Value =
        serde_json::from_str(&answer.stdout).with_context(|| format!("not one JSON object: {answer:?}"))?;
    ensure!(object["schema"] == 1, "{object}");
    for key in ["code", "message", "hint"] {
        ensure!(object["error"].get(key).is_some(), "no {key}: {object}");
    }
    ensure!(object["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{object}");
    Ok(object)
}

/// Asserts that a start fails with these words, in both forms, and leaves nothing.
fn refuses_to_run(place: &Place, words: &[&str]) -> Result<()> {
    let before = fs::read(place.config())?;
    for json in [false, true] {
        let mut arguments = vec!["run"];
        arguments.extend(json.then_some("--json"));
        let answer = place.with_config(&arguments)?;
        ensure!(answer.code == 1, "{arguments:?}: {answer:?}");
        let said = if json { error_object(&answer)?["error"].to_string() } else { answer.stderr.clone() };
        for word in words {
            ensure!(said.contains(word), "\"{word}\" is not said: {answer:?}");
        }
        place.is_untouched()?;
    }
    ensure!(fs::read(place.config())? == before, "the configuration was written");
    Ok(())
}
