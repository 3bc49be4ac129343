//! Changes of members, told to every ingress node of every PoP.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use super::super::daemons::until;
use super::super::node::READY_DEADLINE;
use super::config::{POOLS, of};
use super::{Change, PopLab, plan};

impl PopLab {
    /// Backends of `pop` join and drain, in the pools of both families.
    pub(super) fn change_members(&self, pop: usize, changes: &[Change]) -> Result<()> {
        for change in changes {
            for (pool, family) in POOLS {
                let address = |index| of(plan::backend(pop, index), family);
                match *change {
                    Change::Join(index) => {
                        let words =
                            ["backend", "add", &address(index), "--pool", pool, "--pop", plan::NAMES[pop]];
                        self.command(&words)?;
                    }
                    Change::Drain(index) => {
                        self.command(&["backend", "drain", &address(index), "--pool", pool])?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Runs `anycast-lb WORDS` against all ingress nodes of all PoPs at once; fails where one refuses.
    pub fn command(&self, words: &[&str]) -> Result<()> {
        let outputs: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> =
                self.ingresses().map(|node| (node.name(), scope.spawn(|| node.cli(words)))).collect();
            running.into_iter().map(|(node, thread)| (node, thread.join())).collect()
        });
        for (node, output) in outputs {
            let output = output.map_err(|_| anyhow!("the thread of a command panicked"))?;
            let output = output.with_context(|| format!("{node}: {words:?}"))?;
            ensure!(output.code == Some(0), "{node}: {words:?}: {output:?}");
        }
        Ok(())
    }

    /// Waits until no node has a backend that is still joining.
    pub fn wait_joined(&self) -> Result<()> {
        self.ingresses().try_for_each(|node| {
            until(READY_DEADLINE, &format!("the joins to end on {}", node.name()), || {
                let output = node.cli(&["backend", "list", "--json"])?.json()?;
                let rows = output["backends"].as_array().context("no backends")?;
                Ok((!rows.iter().any(|row| row["state"] == "filling")).then_some(()))
            })
        })
    }
}
