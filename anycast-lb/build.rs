//! Embeds the eBPF object: `ANYCAST_LB_BPF_OBJECT` if set, else `target/bpf/anycast-lb.o`.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=ANYCAST_LB_BPF_OBJECT");
    let object = env::var_os("ANYCAST_LB_BPF_OBJECT").map_or_else(
        || {
            PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
                .join("../target/bpf/anycast-lb.o")
        },
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = fs::read(&object).unwrap_or_else(|e| {
        panic!("{}: {e}\n  the eBPF object is built by: cargo xtask setup", object.display())
    });
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("anycast-lb.o");
    if let Err(e) = fs::write(&out, bytes) {
        panic!("{}: {e}", out.display());
    }
}
