//! Stories told in network namespaces of their own.

mod encapsulation;
mod errors;
mod host;
mod namespace;
mod neighbour;
