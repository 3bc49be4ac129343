//! Replacing files so that at every moment, power failures included, the old or the new one is
//! there.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::EditError;
use crate::config::Sources;
use crate::config::source::{self, SourceFile};

/// Permission bits.
const MODE: u32 = 0o7777;

/// Replaces the texts of files, given as (before, after).
pub(super) fn replace(before: &Sources, changes: &[(&SourceFile, &SourceFile)]) -> Result<(), EditError> {
    let staged = changes.iter().map(|(_, after)| stage(after)).collect::<Result<Vec<_>, _>>()?;
    // After staging, so that little time passes between this look and the renaming.
    unchanged(before)?;
    for (done, (target, file)) in staged.into_iter().enumerate() {
        if let Err(e) = file.persist(&target).map_err(|e| e.error).and_then(|_| sync_directory(&target)) {
            // The others go back to what they were; the error that began it is the one to tell.
            for (before, _) in &changes[..done] {
                if let Ok((target, file)) = stage(before) {
                    let _ = file.persist(target);
                }
            }
            return Err(failed("replace", &target)(e));
        }
    }
    Ok(())
}

/// Writes the new text beside the file that `after` names, links followed, and makes it durable.
fn stage(after: &SourceFile) -> Result<(PathBuf, NamedTempFile), EditError> {
    let path = &after.path;
    let target = fs::canonicalize(path).map_err(failed("find", path))?;
    let metadata = fs::metadata(&target).map_err(failed("read", path))?;
    let directory = target.parent().unwrap_or(Path::new("/"));
    let write = || -> io::Result<NamedTempFile> {
        // The dot keeps it out of what `include` patterns match.
        let mut file =
            tempfile::Builder::new().prefix(".anycast-lb-").suffix(".new").tempfile_in(directory)?;
        file.write_all(after.text.as_bytes())?;
        dress(file.as_file(), &metadata)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    let file = write().map_err(failed("write beside", &target))?;
    Ok((target, file))
}

/// Gives a file the owner and the mode of another; the owner first, for that clears bits of the mode.
fn dress(file: &File, like: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & MODE))
}

fn sync_directory(target: &Path) -> io::Result<()> {
    File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Whether the files on disk are still those that were read: all of them, for a change that is
/// valid beside the old text of another file may be wrong beside its new one.
fn unchanged(before: &Sources) -> Result<(), EditError> {
    let changed = |file: &Path| EditError::Changed { file: file.to_owned() };
    let now = source::read(before.path()).map_err(|_| changed(before.path()))?;
    for file in &before.files {
        if !now.files.iter().any(|f| f.path == file.path && f.text == file.text) {
            return Err(changed(&file.path));
        }
    }
    match now.files.iter().find(|f| before.files.iter().all(|b| b.path != f.path)) {
        Some(new) => Err(changed(&new.path)),
        None => Ok(()),
    }
}

fn failed<'a>(action: &'static str, file: &'a Path) -> impl FnOnce(io::Error) -> EditError + 'a {
    move |source| EditError::Io { action, file: file.to_owned(), source }
}
