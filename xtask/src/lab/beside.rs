//! Programs that a story runs in a lab beside those that every lab has.

use super::Lab;
use super::daemons::{Daemon, Program};
use super::netns::Namespace;
use super::pops::PopLab;

impl Lab {
    /// A program of the lab that is killed with it, and earlier when it is dropped; to be started.
    pub fn beside(&self, namespace: &Namespace, program: Program) -> Daemon {
        Daemon::new(&self.run, namespace, program, false)
    }
}

impl PopLab {
    /// A program of the lab that is killed with it, and earlier when it is dropped; to be started.
    pub fn beside(&self, namespace: &Namespace, program: Program) -> Daemon {
        Daemon::new(&self.run, namespace, program, false)
    }
}
