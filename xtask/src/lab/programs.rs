//! The programs of the lab's nodes, as command lines.

use std::path::Path;

use super::daemons::{Program, arguments};
use super::node::bird_socket;
use super::tools::Tools;

/// The balancer of a node.
pub(super) fn balancer(tools: &Tools, node: &str, config: &Path) -> Program {
    Program {
        name: node.to_owned(),
        program: tools.balancer.clone(),
        arguments: arguments(["run".as_ref(), "--config".as_ref(), config.as_os_str()]),
        notifies: true,
    }
}

/// BIRD of a node, with its control socket in `directory`.
pub(super) fn bird(node: &str, directory: &Path, config: &Path) -> Program {
    let socket = bird_socket(directory, node);
    Program {
        name: format!("{node}-bird"),
        program: "bird".into(),
        arguments: arguments([
            "-f".as_ref(),
            "-c".as_ref(),
            config.as_os_str(),
            "-s".as_ref(),
            socket.as_os_str(),
        ]),
        notifies: false,
    }
}

/// nginx of a backend.
pub(super) fn nginx(node: &str, config: &Path) -> Program {
    Program {
        name: format!("{node}-nginx"),
        program: "nginx".into(),
        arguments: arguments(["-e".as_ref(), "stderr".as_ref(), "-c".as_ref(), config.as_os_str()]),
        notifies: false,
    }
}
