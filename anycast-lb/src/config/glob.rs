//! File patterns of `include`: `*` and `?` within a path component.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

/// Whether the path holds a wildcard.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().any(|b| matches!(b, b'*' | b'?'))
}

/// The files that match, sorted by name. A directory that does not exist matches nothing; names
/// that begin with a dot (editors' swap files) match only a pattern that begins with one.
///
/// # Errors
///
/// A directory on the way cannot be read.
pub(super) fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let name = component.as_os_str();
        let wild = matches!(component, Component::Normal(n) if is_pattern(Path::new(n)));
        let mut next = Vec::new();
        for parent in found {
            if wild {
                list(&parent, name, &mut next)?;
            } else {
                next.push(parent.join(name));
            }
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    Ok(found)
}

fn list(parent: &Path, pattern: &OsStr, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let dir = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut names = entries.map(|e| e.map(|e| e.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    let matching = names.into_iter().filter(|name| matches(pattern.as_bytes(), name.as_bytes()));
    found.extend(matching.map(|name| parent.join(name)));
    Ok(())
}

/// Whether `name` fits; linear but for one point of return, the last `*`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, name, fits) in [
            ("*.toml", "web.toml", true),
            ("*.toml", ".web.toml", false),
            (".*", ".web", true),
            ("*.toml", "web.toml~", false),
            ("w?b*", "web", true),
            ("w?b*", "wb", false),
            ("*a*b", "xaab", true),
            ("*a*b", "xaabc", false),
            ("*", "anything", true),
            ("web", "web", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn files_sorted_directories_left_out() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        for name in ["b.toml", "a.toml", "c.conf"] {
            fs::write(dir.path().join(name), "")?;
        }
        fs::create_dir(dir.path().join("d.toml"))?;
        assert_eq!(
            expand(&dir.path().join("*.toml"))?,
            vec![dir.path().join("a.toml"), dir.path().join("b.toml")]
        );
        assert_eq!(expand(&dir.path().join("none.d/*.toml"))?, Vec::<PathBuf>::new());
        Ok(())
    }
}
