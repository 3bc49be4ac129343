//! What each change does to the texts.

use std::net::IpAddr;

use toml_edit::Document;

use super::entries::{Entry, add_to_file, add_to_pool, entries};
use super::layout::{self, Layout};
use super::splice::{self, Fields, quoted};
use super::{Edit, EditError};
use crate::config::schema::words::{ENCAPSULATIONS, STATES, TABLES, word_of};
use crate::config::source::{MAIN, SourceFile};
use crate::config::suggest::nearest;
use crate::config::{Problem, Problems};
use crate::model::{BackendState, VipKey};

type Parsed<'a> = Document<&'a str>;

/// Makes one change in the texts. `pools_count`: whether VIPs lead to pools here.
pub(super) fn apply(files: &mut [SourceFile], edit: &Edit, pools_count: bool) -> Result<(), EditError> {
    // One pool after the other: a change moves the places of what comes after it.
    for edit in pool_by_pool(files, edit)? {
        let texts = Texts { files, documents: parse(files)? };
        for (file, text) in texts.changes(&edit, pools_count)? {
            files[file].text = text;
        }
    }
    Ok(())
}

/// The same change with its pool named, once for each pool that has the backend.
fn pool_by_pool(files: &[SourceFile], edit: &Edit) -> Result<Vec<Edit>, EditError> {
    let address = match edit {
        Edit::RemoveBackend { pool: None, address }
        | Edit::SetState { pool: None, address, .. }
        | Edit::SetWeight { pool: None, address, .. } => *address,
        _ => return Ok(vec![edit.clone()]),
    };
    let texts = Texts { files, documents: parse(files)? };
    let pools = texts.pools_with(address);
    if pools.is_empty() {
        return Err(texts.no_backend(None, address));
    }
    let named = pools.into_iter().map(|name| {
        let mut edit = edit.clone();
        if let Edit::RemoveBackend { pool, .. } | Edit::SetState { pool, .. } | Edit::SetWeight { pool, .. } =
            &mut edit
        {
            *pool = Some(name);
        }
        edit
    });
    Ok(named.collect())
}

fn parse(files: &[SourceFile]) -> Result<Vec<Parsed<'_>>, EditError> {
    let parsed = files
        .iter()
        .map(|file| Document::parse(file.text.as_str()).map_err(|e| not_understood(file, e.message())));
    parsed.collect()
}

/// The texts were valid when they were loaded, so this names a fault of the editor itself.
fn not_understood(file: &SourceFile, message: &str) -> EditError {
    EditError::Invalid(Problems(vec![Problem {
        file: file.path.clone(),
        line: 0,
        column: 0,
        key: String::new(),
        message: format!("the change cannot be written here: {message}"),
        hint: "edit the file by hand, then: anycast-lb reload".to_owned(),
    }]))
}

/// New texts of some files.
type Changes = Vec<(usize, String)>;

struct Texts<'a> {
    files: &'a [SourceFile],
    documents: Vec<Parsed<'a>>,
}

impl<'a> Texts<'a> {
    fn changes(&self, edit: &Edit, pools_count: bool) -> Result<Changes, EditError> {
        match edit {
            Edit::AddVip { key, pool, hash, quic, mss_clamp, identity } => {
                let mut fields: Vec<_> = hash.iter().map(|hash| ("hash", quoted(hash.word()))).collect();
                fields.extend(quic.then(|| ("quic", true.to_string())));
                fields.extend(mss_clamp.then(|| ("mss_clamp", true.to_string())));
                fields.extend(identity.iter().map(|identity| ("identity", quoted(identity.word()))));
                self.add_vip(key, pool, fields, pools_count)
            }
            Edit::RemoveVip { key } => self.remove_vip(key),
            Edit::AddPool { name, encapsulation, table, slots } => {
                let mut fields = vec![("name", quoted(name))];
                fields.extend(encapsulation.map(|e| ("encapsulation", quoted(word_of(ENCAPSULATIONS, &e)))));
                fields.extend(table.map(|t| ("table", quoted(word_of(TABLES, &t)))));
                fields.extend(slots.map(|s| ("slots", s.to_string())));
                self.add_pool(name, &fields)
            }
            Edit::RemovePool { name } => self.remove_pool(name),
            Edit::AddBackend { pool, address, weight, pop, server_id } => {
                let mut fields: Vec<_> = weight.iter().map(|w| ("weight", w.to_string())).collect();
                fields.extend(pop.as_ref().map(|pop| ("pop", quoted(pop))));
                fields.extend(server_id.as_ref().map(|id| ("server_id", quoted(id))));
                self.add_backend(pool, *address, fields)
            }
            Edit::RemoveBackend { pool, address } => {
                self.backend(pool.as_deref().unwrap_or_default(), *address, |entry, text, layout| {
                    entry.removed(text, layout)
                })
            }
            Edit::SetState { pool, address, state } => {
                let word = word_of(STATES, state);
                self.backend(pool.as_deref().unwrap_or_default(), *address, |entry, text, layout| {
                    let written = entry.text("state");
                    if written == Some(word) || (written.is_none() && *state == BackendState::Active) {
                        return Some(text.to_owned());
                    }
                    entry.with_key(text, layout, "state", &quoted(word))
                })
            }
            Edit::SetPop { pop, drained } => self.set_pop(pop, *drained),
            Edit::SetWeight { pool, address, weight } => {
                self.backend(pool.as_deref().unwrap_or_default(), *address, |entry, text, layout| {
                    let written = entry.table().get("weight").and_then(toml_edit::Item::as_integer);
                    if written == Some(i64::from(*weight)) {
                        return Some(text.to_owned());
                    }
                    entry.with_key(text, layout, "weight", &weight.to_string())
                })
            }
        }
    }

    /// All entries under a key with the files they stand in.
    fn all(&self, key: &'static str) -> impl Iterator<Item = (usize, Entry<'_>)> {
        let documents = self.documents.iter().enumerate();
        documents
            .flat_map(move |(i, document)| entries(document.as_table(), key).into_iter().map(move |e| (i, e)))
    }

    fn layout(&self, file: usize) -> Layout<'_> {
        Layout::new(&self.files[file].text, self.documents[file].as_table())
    }

    fn changed(&self, file: usize, text: Option<String>) -> Result<Changes, EditError> {
        let text = text.ok_or_else(|| not_understood(&self.files[file], "an unexpected notation"))?;
        Ok(vec![(file, text)])
    }

    fn pool(&self, name: &str) -> Result<(usize, Entry<'_>), EditError> {
        self.all("pool").find(|(_, e)| e.text("name") == Some(name)).ok_or_else(|| {
            let names: Vec<_> =
                self.all("pool").filter_map(|(_, e)| e.text("name").map(str::to_owned)).collect();
            let hint = match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None if names.is_empty() => format!("add it: anycast-lb pool add {name}"),
                None => format!("there are: {}; add one with: anycast-lb pool add {name}", names.join(", ")),
            };
            EditError::NotFound { what: format!("pool {name:?}"), hint }
        })
    }

    fn add(&self, key: &'static str, fields: &Fields) -> Result<Changes, EditError> {
        let file = self.all(key).last().map_or(MAIN, |(file, _)| file);
        let (text, root) = (&self.files[file].text, self.documents[file].as_table());
        self.changed(file, add_to_file(text, root, &self.layout(file), key, fields))
    }

    /// Adds a PoP to the list of drained ones in the main file, or takes it out.
    fn set_pop(&self, pop: &str, drained: bool) -> Result<Changes, EditError> {
        const KEY: &str = "drained_pops";
        let (text, root) = (&self.files[MAIN].text, self.documents[MAIN].as_table());
        let list = root.get(KEY).and_then(toml_edit::Item::as_array);
        let place = list.and_then(|list| list.iter().position(|entry| entry.as_str() == Some(pop)));
        let changed = match (list, place, drained) {
            (_, Some(_), true) | (_, None, false) => Some(text.clone()),
            (Some(list), None, true) => splice::push_element(text, list, &quoted(pop)),
            (Some(list), Some(place), false) => splice::remove_element(text, list, place),
            (None, ..) => {
                let line = format!("{KEY} = [{}]", quoted(pop));
                Some(splice::insert_line(text, layout::top_end(text, root), &line))
            }
        };
        self.changed(MAIN, changed)
    }

    fn add_vip(
        &self,
        key: &VipKey,
        pool: &str,
        more: Vec<(&'static str, String)>,
        pools_count: bool,
    ) -> Result<Changes, EditError> {
        if let Some((_, there)) = self.all("vip").find(|(_, e)| e.vip_key() == Some(*key)) {
            let hint = match there.text("pool") {
                Some(there) if there != pool => format!(
                    "it leads to pool {there:?}; to change that: anycast-lb vip remove {key}, then add it again"
                ),
                _ => "nothing is to be done".to_owned(),
            };
            return Err(EditError::Exists { what: format!("vip {key}"), hint });
        }
        if pools_count {
            self.pool(pool)?;
        }
        let mut fields = vec![("address", quoted(&key.address.to_string()))];
        fields.extend(key.port.map(|port| ("port", port.to_string())));
        fields.push(("protocol", quoted(key.protocol.word())));
        if !pool.is_empty() {
            fields.push(("pool", quoted(pool)));
        }
        fields.extend(more);
        self.add("vip", &fields)
    }

    fn remove_vip(&self, key: &VipKey) -> Result<Changes, EditError> {
        let Some((file, entry)) = self.all("vip").find(|(_, e)| e.vip_key() == Some(*key)) else {
            let here: Vec<_> = self
                .all("vip")
                .filter_map(|(_, e)| e.vip_key())
                .filter(|k| k.address == key.address)
                .map(|k| k.to_string())
                .collect();
            let hint = if here.is_empty() {
                "see: anycast-lb vip list".to_owned()
            } else {
                format!("at this address there are: {}", here.join(", "))
            };
            return Err(EditError::NotFound { what: format!("vip {key}"), hint });
        };
        self.changed(file, entry.removed(&self.files[file].text, &self.layout(file)))
    }

    fn add_pool(&self, name: &str, fields: &Fields) -> Result<Changes, EditError> {
        if self.all("pool").any(|(_, e)| e.text("name") == Some(name)) {
            let hint = format!("see: anycast-lb pool show {name}");
            return Err(EditError::Exists { what: format!("pool {name:?}"), hint });
        }
        self.add("pool", fields)
    }

    fn remove_pool(&self, name: &str) -> Result<Changes, EditError> {
        let (file, entry) = self.pool(name)?;
        let users = self.all("vip").filter(|(_, e)| e.text("pool") == Some(name));
        let vips: Vec<_> = users.filter_map(|(_, e)| e.vip_key()).collect();
        if !vips.is_empty() {
            return Err(EditError::PoolInUse { pool: name.to_owned(), vips });
        }
        self.changed(file, entry.removed(&self.files[file].text, &self.layout(file)))
    }

    fn add_backend(
        &self,
        pool: &str,
        address: IpAddr,
        more: Vec<(&'static str, String)>,
    ) -> Result<Changes, EditError> {
        let (file, entry) = self.pool(pool)?;
        if entries(entry.table(), "backend").iter().any(|e| e.address() == Some(address)) {
            return Err(EditError::Exists {
                what: format!("backend {address} of pool {pool:?}"),
                hint: format!(
                    "change it: anycast-lb backend weight {address} N, or backend undrain {address}"
                ),
            });
        }
        let mut fields = vec![("address", quoted(&address.to_string()))];
        fields.extend(more);
        let text = add_to_pool(&self.files[file].text, &entry, &self.layout(file), &fields);
        self.changed(file, text)
    }

    /// Changes a backend of one pool.
    fn backend(
        &self,
        pool: &str,
        address: IpAddr,
        change: impl Fn(&Entry<'_>, &str, &Layout<'_>) -> Option<String>,
    ) -> Result<Changes, EditError> {
        let (file, entry) = self.pool(pool)?;
        let backends = entries(entry.table(), "backend");
        let backend = backends.iter().find(|b| b.address() == Some(address));
        let backend = backend.ok_or_else(|| self.no_backend(Some(pool), address))?;
        self.changed(file, change(backend, &self.files[file].text, &self.layout(file)))
    }

    /// Names of the pools that have a backend.
    fn pools_with(&self, address: IpAddr) -> Vec<String> {
        let has =
            |pool: &Entry<'_>| entries(pool.table(), "backend").iter().any(|b| b.address() == Some(address));
        self.all("pool")
            .filter(|(_, p)| has(p))
            .filter_map(|(_, p)| p.text("name").map(str::to_owned))
            .collect()
    }

    fn no_backend(&self, pool: Option<&str>, address: IpAddr) -> EditError {
        let with = self.pools_with(address);
        let hint = if with.is_empty() {
            "see: anycast-lb backend list".to_owned()
        } else {
            format!("it is in: {}", with.join(", "))
        };
        let what = match pool {
            Some(pool) => format!("backend {address} in pool {pool:?}"),
            None => format!("backend {address} in any pool"),
        };
        EditError::NotFound { what, hint }
    }
}
