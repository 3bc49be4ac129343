//! What the keys do.

/// Keys, and what they do.
pub const KEYS: [(&str, &str); 11] = [
    ("1 to 5", "VIPs, backends, drops, sessions, alarms"),
    ("Tab, arrows", "next or previous view; up and down select a line"),
    ("PgUp, PgDn", "ten lines up or down; Home, End: first or last line"),
    ("s, S", "sort by the next or previous column, or as configured"),
    ("r", "sort the other way round"),
    ("/", "show lines with a text in them; Esc shows all"),
    ("a", "among drops: show all ways out, not drops alone"),
    ("p, space", "let the picture stand still, or go on"),
    ("?", "this help"),
    ("q, Ctrl-C", "leave"),
    ("SHARE, ASKED", "part of the pool's packets now, and by weight"),
];
