//! What on this host will bite, each with the command that mends it.
