//! Stories told in network namespaces of their own.

mod host;
mod namespace;
mod neighbour;
mod reload;
mod restart;
mod stand;
mod write_back;
