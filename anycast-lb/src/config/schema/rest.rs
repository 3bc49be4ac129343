//! `[log]` and `[[prefix]]`.

use super::PrefixDraft;
use super::rpki::{OriginDraft, origin};
use super::words::LOG_FORMATS;
use crate::config::LogFormat;
use crate::config::reader::{Section, label};

/// `[log]` of the main file.
pub(super) fn read(root: &Section<'_>, log: &mut LogFormat) {
    if let Some(section) = root.table("log") {
        *log = section.choice("format", LOG_FORMATS).map(|f| f.value).unwrap_or_default();
        section.finish();
    }
}

/// `[[prefix]]` of any file.
pub(super) fn entries(root: &Section<'_>, prefixes: &mut Vec<PrefixDraft>, origins: &mut Vec<OriginDraft>) {
    for (i, section) in root.tables("prefix").into_iter().enumerate() {
        let section = match section.peek("prefix") {
            Some(prefix) => section.named(format!("prefix {prefix}")),
            None => section.named(label("prefix", None::<&str>, i)),
        };
        let prefix = super::announce::prefix(&section);
        origins.extend(origin(&section, prefix.as_ref().map(|p| p.prefix.value)));
        prefixes.extend(prefix);
        section.finish();
    }
}
