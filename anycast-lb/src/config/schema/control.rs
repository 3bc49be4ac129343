//! `[control]` and `[[peer]]`.

use super::global::{LONGEST_NAME, absolute};
use super::{ControlDraft, PeerDraft, TlsDraft, word};
use crate::config::reader::{Section, label};
use crate::config::report::At;

/// `sun_path` without the zero at its end.
const LONGEST_SOCKET: usize = 107;

pub(super) fn read(root: &Section<'_>, control: &mut ControlDraft) {
    if let Some(section) = root.table("control") {
        control.socket = absolute(&section, "socket");
        if let Some(path) = &control.socket
            && path.as_os_str().len() > LONGEST_SOCKET
            && let Some(field) = section.field("socket")
        {
            field.problem(
                format!("is {} bytes long", path.as_os_str().len()),
                format!("a socket's path has {LONGEST_SOCKET} bytes at most; choose a shorter one"),
            );
        }
        control.group = section.field("group").and_then(|f| {
            let group = f.string()?.value;
            if group.is_empty() {
                f.problem(
                    "is empty",
                    "name a group, or leave the key out: then root alone may use the socket",
                );
            }
            Some(group)
        });
        control.write_back = section.boolean("write_back").map(|b| b.value);
        control.listen = section.socket_address("listen");
        control.tls = tls(&section);
        section.finish();
    }
}

fn tls(control: &Section<'_>) -> Option<TlsDraft> {
    let section = control.table("tls")?;
    let file = |key| {
        section.required(key, &format!("{key} = \"/etc/anycast-lb/{key}.pem\"")).and_then(|f| f.path_value())
    };
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    section.finish();
    Some(TlsDraft { ca: ca?, cert: cert?, key: key? })
}

/// `[[peer]]`.
pub(super) fn peers(root: &Section<'_>, peers: &mut Vec<At<PeerDraft>>) {
    for (i, section) in root.tables("peer").into_iter().enumerate() {
        let name = section.peek("node").map(|n| format!("{n:?}"));
        let section = section.named(label("peer", name, i));
        let node = section
            .required("node", "node = \"sin1-lb1\"")
            .and_then(|field| word(&field, LONGEST_NAME, true));
        let pop =
            section.field("pop").and_then(|field| word(&field, LONGEST_NAME, true)).map(|pop| pop.value);
        let control = section
            .required("control", "control = \"10.1.0.2:19524\"")
            .and_then(|_| section.socket_address("control"));
        let spot = section.spot();
        section.finish();
        if let (Some(node), Some(control)) = (node, control) {
            peers.push(At { value: PeerDraft { node: node.value, pop, control: control.value }, spot });
        }
    }
}
