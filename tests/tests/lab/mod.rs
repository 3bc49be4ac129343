//! Stories told in network namespaces of their own.

mod host;
mod namespace;
mod neighbour;
