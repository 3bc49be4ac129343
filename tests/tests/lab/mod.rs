//! Stories told in network namespaces of their own.

mod affinity;
mod agreement;
mod connected;
mod encapsulation;
mod errors;
mod explain;
mod fragments;
mod health;
mod host;
mod hostile_hops;
mod instances;
mod namespace;
mod neighbour;
mod network_changes;
mod no_loss;
mod path_mtu;
mod pops;
mod port_reuse;
mod quic;
mod redirector;
mod reload;
mod restart;
mod scale;
mod second_chance;
mod stand;
mod write_back;
