//! The whole of it: files in, configuration or mistakes out.

mod control;
mod example;
mod files;
mod health;
mod identity;
mod mistakes;
mod notices;
mod page;
mod quic;
mod relations;
mod rpki;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{Loaded, Overrides, Problems, load};

/// A seed as files hold it.
pub(super) const SEED: &str = "000102030405060708090a0b0c0d0e0f\n";
/// First lines of an ingress node's file.
pub(super) const INGRESS: &str = "role = \"ingress\"\nnode = \"n1\"\nhash_seed_file = \"seed\"\n";
/// First lines of a backend's file.
pub(super) const BACKEND: &str = "role = \"backend\"\nnode = \"b1\"\nallowed_senders = [\"10.0.0.0/24\"]\n";
/// Last lines of every file.
pub(super) const INTERFACE: &str = "[[interface]]\nname = \"eth0\"\n";

/// A directory with a seed, for configuration files.
pub(super) struct Dir(tempfile::TempDir);

impl Dir {
    pub fn new() -> Self {
        let dir = Dir(tempfile::tempdir().expect("a directory for the test"));
        dir.put("seed", SEED, 0o600);
        dir
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn put(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("a file written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode set");
        path
    }

    /// Writes the main file and loads it.
    pub fn load(&self, text: &str) -> Result<Loaded, Problems> {
        load(&self.put("config.toml", text, 0o644), &Overrides::default())
    }

    /// The text of a file without the directory's name.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file read")
    }
}

pub(super) fn loaded(text: &str) -> Loaded {
    Dir::new().load(text).unwrap_or_else(|problems| panic!("{problems}\nin:\n{text}"))
}

/// Loads a text in which `#~ this | that` marks each line with a mistake, and asserts that those
/// mistakes, each saying this and that, and no others are found.
pub(super) fn assert_mistakes(text: &str) {
    let problems = match Dir::new().load(text) {
        Ok(_) => Vec::new(),
        Err(Problems(problems)) => problems,
    };
    let found: Vec<_> = problems.iter().map(|p| (p.line, p.to_string())).collect();
    let expected: Vec<_> =
        marks(text).flat_map(|(line, marks)| marks.split("#~").map(move |m| (line, m.trim()))).collect();
    let lines = |l: &[(usize, String)]| l.iter().map(|(line, _)| *line).collect::<Vec<_>>();
    let expected_lines: Vec<_> = expected.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines(&found), expected_lines, "found {found:#?}\nin:\n{text}");
    for ((_, message), (_, mark)) in found.iter().zip(&expected) {
        for part in mark.split(" | ") {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    assert!(problems.iter().all(|p| !p.hint.is_empty() && !p.message.is_empty()), "{problems:#?}");
}

fn marks(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(i, line)| Some((i + 1, line.split_once("#~")?.1)))
}

/// An ingress node's file.
pub(super) fn ingress(rest: &str) -> String {
    format!("{INGRESS}{rest}{INTERFACE}")
}

/// A backend's file.
pub(super) fn backend(rest: &str) -> String {
    format!("{BACKEND}{rest}{INTERFACE}")
}
