//! Talking to other nodes: no listening without certificates, certificates that can be used, peers
//! that are told apart.

use std::collections::HashMap;
use std::path::PathBuf;

use super::Surroundings;
use crate::config::certificates::{self, Part};
use crate::config::report::{At, Report};
use crate::config::schema::{ControlDraft, PeerDraft, TlsDraft};
use crate::config::source::{MAIN, SourceFile, beside};
use crate::model::{Peer, Tls};

/// `control.tls` with whole paths; the files are read once to see that they serve.
pub(super) fn tls(
    control: &ControlDraft,
    files: &[SourceFile],
    surroundings: &Surroundings,
    report: &Report<'_>,
) -> Option<Tls> {
    let refused = report.has_problem(|key| key.starts_with("control.tls"));
    let Some(draft) = &control.tls else {
        if let Some(listen) = &control.listen
            && !refused
        {
            report.problem(
                listen.spot,
                "control.listen",
                "is given without control.tls",
                "write tls = { ca = \"…\", cert = \"…\", key = \"…\" } below it: nodes talk over mutual TLS only",
            );
        }
        return None;
    };
    let whole = |file: &At<PathBuf>| beside(&files[MAIN].path, &file.value);
    let tls = Tls { ca: whole(&draft.ca), cert: whole(&draft.cert), key: whole(&draft.key) };
    if !surroundings.certificates_read {
        try_certificates(&tls, draft, report);
    }
    Some(tls)
}

fn try_certificates(tls: &Tls, draft: &TlsDraft, report: &Report<'_>) {
    match certificates::read(tls) {
        Err(errors) => {
            for error in errors {
                let (file, key) = match error.part {
                    Part::Ca => (&draft.ca, "control.tls.ca"),
                    Part::Cert => (&draft.cert, "control.tls.cert"),
                    Part::Key => (&draft.key, "control.tls.key"),
                };
                report.problem(file.spot, key, error.to_string(), error.hint());
            }
        }
        // No mistake that would keep the node from balancing.
        Ok(certificates) => {
            if let Some(reason) = certificates.refused_because() {
                let what = format!("other nodes will refuse this certificate: {reason}");
                report.notice(draft.cert.spot, "control.tls.cert", what);
            }
        }
    }
}

/// The other nodes. The same file may stand on all of them: an entry that names this node is
/// checked and left out.
pub(super) fn peers(control: &ControlDraft, node: &str, pop: &str, report: &Report<'_>) -> Vec<Peer> {
    let mut seen = HashMap::new();
    for At { value, spot } in &control.peers {
        let key = format!("peer {:?}", value.node);
        if let Some(first) = seen.insert(&value.node, *spot) {
            let message = format!("is named already at {}", report.place(first));
            report.problem(*spot, &key, message, "take one of the two out");
        }
        let broken = report.has_problem(|key| key.starts_with("control.tls"));
        if control.tls.is_none() && !broken {
            let what = "has no effect: nodes are asked over TLS only; without control.tls, fill_time decides";
            report.notice(*spot, &key, what);
        }
    }
    let others = control.peers.iter().map(|p| &p.value).filter(|p| p.node != node);
    let peer = |p: &PeerDraft| Peer {
        node: p.node.clone(),
        pop: p.pop.clone().unwrap_or_else(|| pop.to_owned()),
        control: p.control,
    };
    others.map(peer).collect()
}
