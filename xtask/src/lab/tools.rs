//! Where the built programs are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The built programs that a lab runs.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The balancer.
    pub balancer: PathBuf,
    /// This program.
    pub xtask: PathBuf,
    /// Object of the program that veth peers need.
    pub pass: PathBuf,
}

impl Tools {
    /// Finds them in the target directory; an error that says how to build what is missing.
    pub fn locate() -> Result<Self> {
        let target = target_directory();
        let tools = Self {
            balancer: target.join("release/anycast-lb"),
            xtask: own_or_built(&target),
            pass: target.join("bpf/xdp-pass.o"),
        };
        for file in [&tools.balancer, &tools.xtask, &tools.pass] {
            if !file.exists() {
                bail!("{} is missing; `cargo xtask setup` builds it", file.display());
            }
        }
        Ok(tools)
    }
}

/// The workspace's target directory.
pub fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => directory.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

/// Tests drive the lab from a program of their own: then the built xtask is used.
fn own_or_built(target: &Path) -> PathBuf {
    let own =
        std::env::current_exe().ok().filter(|path| path.file_name().is_some_and(|name| name == "xtask"));
    own.unwrap_or_else(|| target.join("release/xtask"))
}
