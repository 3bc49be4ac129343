//! The seed of the flow hash: read only from files that strangers cannot read.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::model::Seed;

/// Hexadecimal digits of a seed.
const DIGITS: usize = 32;
/// Longest file that is looked at: a seed and some white space.
const LONGEST: u64 = 256;
/// The group that only the administrator is in.
const ROOT_GROUP: u32 = 0;
/// Permission bits of a group and of everybody.
const GROUP: u32 = 0o060;
const OTHERS: u32 = 0o006;

/// Why a secret cannot be used. No message contains any of the secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read or write the file.
    #[error("{} may be read or written by {who} (mode {mode:04o})", .file.display())]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Who.
        who: &'static str,
        /// Permission bits.
        mode: u32,
    },
    /// Not 32 hexadecimal digits.
    #[error("a seed is 32 hexadecimal digits, this is {0}")]
    Malformed(&'static str),
}

impl SecretError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, SecretError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// What mends it.
    pub fn hint(&self) -> String {
        match self {
            SecretError::Read { file, source } if source.kind() == io::ErrorKind::NotFound => format!(
                "make it on one node and copy it to the others: (umask 077; openssl rand -hex 16 > {})",
                file.display()
            ),
            SecretError::Read { .. } => "give the daemon's user read permission".to_owned(),
            SecretError::Exposed { file, .. } => format!("run: chmod 600 {}", file.display()),
            SecretError::Malformed(_) => "make one: openssl rand -hex 16".to_owned(),
        }
    }
}

/// Reads a seed file: 32 hexadecimal digits, white space around them ignored.
///
/// # Errors
///
/// The file cannot be read, others may read or write it, or it holds no seed.
pub fn read_seed(path: &Path) -> Result<Seed, SecretError> {
    let bytes = read_private(path, LONGEST + 1)?;
    if bytes.len() as u64 > LONGEST {
        return Err(SecretError::Malformed("longer"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::Malformed("not text"))?;
    parse_seed(text.trim_ascii())
}

/// Reads at most `limit` bytes of a file that strangers can neither read nor write.
pub(super) fn read_private(path: &Path, limit: u64) -> Result<Vec<u8>, SecretError> {
    let failed = |source| SecretError::Read { file: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    // The open file is looked at, not the name, which may point elsewhere a moment later.
    check_private(path, &file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Parses 32 hexadecimal digits.
///
/// # Errors
///
/// There are more, fewer, or other characters.
pub fn parse_seed(text: &str) -> Result<Seed, SecretError> {
    if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(SecretError::Malformed("something else"));
    }
    if text.len() != DIGITS {
        return Err(SecretError::Malformed(if text.len() < DIGITS { "shorter" } else { "longer" }));
    }
    let number = u128::from_str_radix(text, 16).map_err(|_| SecretError::Malformed("something else"))?;
    Ok(Seed(number.to_be_bytes()))
}

/// Whether everybody may read a file with these permission bits.
pub(super) fn world_readable(mode: u32) -> bool {
    mode & 0o004 != 0
}

/// Refuses a file that others may read or write. The group root is as good as its one member.
fn check_private(path: &Path, metadata: &Metadata) -> Result<(), SecretError> {
    let mode = metadata.mode() & 0o7777;
    let who = if mode & OTHERS != 0 {
        "everybody"
    } else if mode & GROUP != 0 && metadata.gid() != ROOT_GROUP {
        "its group"
    } else {
        return Ok(());
    };
    Err(SecretError::Exposed { file: path.to_owned(), who, mode })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SEED: &str = "000102030405060708090a0b0c0d0eFF";

    fn read(text: &str, mode: u32) -> io::Result<(Result<Seed, SecretError>, PathBuf, tempfile::TempDir)> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("seed");
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok((read_seed(&path), path, dir))
    }

    #[test]
    fn digits_in_order_with_or_without_a_newline() -> io::Result<()> {
        for text in [SEED.to_owned(), format!("{SEED}\n"), format!(" {SEED}\r\n")] {
            let (seed, ..) = read(&text, 0o600)?;
            let seed = seed.map_err(io::Error::other)?;
            assert_eq!(seed.0[..3], [0, 1, 2]);
            assert_eq!(seed.0[15], 0xff);
        }
        Ok(())
    }

    #[test]
    fn a_file_others_may_read_or_write_is_refused_with_the_chmod_that_mends_it() -> io::Result<()> {
        for mode in [0o604, 0o644, 0o602, 0o666] {
            let (seed, path, _dir) = read(SEED, mode)?;
            let error = seed.err().ok_or(io::Error::other("accepted"))?;
            assert!(matches!(error, SecretError::Exposed { who: "everybody", .. }), "{error}");
            assert_eq!(error.hint(), format!("run: chmod 600 {}", path.display()));
        }
        Ok(())
    }

    #[test]
    fn a_group_other_than_root_may_not_read_it() -> io::Result<()> {
        let (_, path, _dir) = read(SEED, 0o640)?;
        let group = fs::metadata(&path)?.gid();
        assert_eq!(read_seed(&path).is_ok(), group == ROOT_GROUP);
        // Only root may give a file away; elsewhere the line above has already seen the refusal.
        if std::os::unix::fs::chown(&path, None, Some(12345)).is_ok() {
            assert!(matches!(read_seed(&path), Err(SecretError::Exposed { who: "its group", .. })));
        }
        Ok(())
    }

    #[test]
    fn what_is_no_seed_is_not_repeated_in_the_message() -> io::Result<()> {
        for text in [
            "",
            "00",
            "zz0102030405060708090a0b0c0d0e0f",
            &format!("{SEED}0"),
            &"1".repeat(999),
            "+00102030405060708090a0b0c0d0e0f",
        ] {
            let (seed, ..) = read(text, 0o600)?;
            let error = seed.err().ok_or(io::Error::other("accepted"))?;
            assert!(matches!(error, SecretError::Malformed(_)), "{error}");
            assert!(text.is_empty() || !error.to_string().contains(text) || text == "00", "{error}");
            assert!(error.hint().contains("openssl rand -hex 16"));
        }
        Ok(())
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let error = read_seed(Path::new("/nonexistent/seed")).err();
        assert!(error.is_some_and(|e| e.hint().contains("openssl rand -hex 16 > /nonexistent/seed")));
    }
}
