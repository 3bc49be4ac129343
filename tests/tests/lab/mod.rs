//! Stories told in network namespaces of their own.

mod neighbour;
