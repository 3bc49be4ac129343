//! The anycast-lb binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    anycast_lb::cli::main()
}
