//! Several changes in the same moment: what a stateless balancer has to live through.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use super::topology;
use super::{Kind, Lab};

/// What happens in the same moment. Nodes are named by their index.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// The ingress node that withdraws its routes. Without a balancer there is none.
    pub withdraw: usize,
    /// The backend that joins.
    pub join: usize,
    /// The backend that drains. Without a balancer it can only withdraw.
    pub drain: usize,
}

impl Lab {
    /// Makes all of it happen at once; returns when every node has it and the router too.
    pub fn churn(&self, churn: Churn) -> Result<()> {
        if self.kind == Kind::PlainEcmp {
            self.announce(churn.join)?;
            return self.withdraw(churn.drain);
        }
        let join = topology::backend(churn.join).v4.to_string();
        let drain = topology::backend(churn.drain).v4.to_string();
        thread::scope(|scope| {
            let withdrawn = scope.spawn(|| self.withdraw(churn.withdraw));
            let changed = self
                .command_ingresses(&["backend", "add", &join, "--pool", "web"])
                .and_then(|()| self.command_ingresses(&["backend", "drain", &drain]));
            withdrawn.join().map_err(|_| anyhow!("the thread of a withdrawal panicked"))??;
            changed
        })
    }

    /// Runs `anycast-lb WORDS` against all ingress nodes at once; fails where one refuses.
    pub fn command_ingresses(&self, words: &[&str]) -> Result<()> {
        let outputs: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> =
                self.ingresses.iter().map(|node| (node, scope.spawn(|| node.cli(words)))).collect();
            running.into_iter().map(|(node, thread)| (node.name(), thread.join())).collect()
        });
        for (node, output) in outputs {
            let output = output.map_err(|_| anyhow!("the thread of a command panicked"))?;
            let output = output.with_context(|| format!("{node}: {words:?}"))?;
            ensure!(output.code == Some(0), "{node}: {words:?}: {output:?}");
        }
        Ok(())
    }
}
