//! Flows for people.

use std::time::SystemTime;

use anycast_lb_flowlog::{Served, Sight, Story, stamp};

use crate::cli::table::{Cell, LINE, Table, wrap};

/// Column of what is said of one flow.
const NAME_WIDTH: usize = 9;

/// A line a flow, or all that is known of the only one.
pub(super) fn stories(stories: &[Story]) -> String {
    match stories {
        [] => "no such flow is in the logs that were read\n".to_owned(),
        [story] => one(story),
        _ => many(stories),
    }
}

fn many(stories: &[Story]) -> String {
    let service = |story: &Story| format!("{} {}", protocol(story), story.flow.destination);
    let first = stories.first().map(service).unwrap_or_default();
    let is_one_service = stories.iter().all(|story| service(story) == first);
    let is_one_day = stories.iter().all(|story| day(story.first) == day(stories[0].first));
    let client = if is_one_service { "CLIENT" } else { "FLOW" };
    let mut table = Table::new(&["BEGAN", ">LASTED", client, "BY", "BACKEND"]);
    for story in stories {
        let began = if is_one_day {
            clock(story.first)
        } else {
            format!("{} {}", day(story.first), clock(story.first))
        };
        let flow = match is_one_service {
            true => story.flow.source.to_string(),
            false => format!("{} {} -> {}", protocol(story), story.flow.source, story.flow.destination),
        };
        let by: Vec<&str> = story.ingress.iter().map(|sight| sight.node.as_str()).collect();
        let began = if story.begin.is_some() { began } else { format!("{began} *") };
        table.row([
            Cell::from(began),
            Cell::from(lasted(story)),
            Cell::from(flow),
            Cell::from(if by.is_empty() { "-".to_owned() } else { by.join(", ") }),
            backend(story),
        ]);
    }
    let mut out = if is_one_service { format!("to {first}") } else { "to several services".to_owned() };
    if is_one_day {
        out.push_str(&format!(", on {} (UTC)", day(stories[0].first)));
    }
    out.push('\n');
    out.push_str(&table.render(""));
    if stories.iter().any(|story| story.begin.is_none()) {
        out.push_str("* or earlier: its beginning is in none of these logs\n");
    }
    out
}

fn protocol(story: &Story) -> String {
    story.flow.to_string().split(' ').next().unwrap_or_default().to_owned()
}

fn day(time: SystemTime) -> String {
    stamp(time)[..10].to_owned()
}

fn clock(time: SystemTime) -> String {
    stamp(time)[11..23].to_owned()
}

fn lasted(story: &Story) -> String {
    match (story.begin, story.end) {
        (Some(begin), Some(end)) => {
            let seconds = end.duration_since(begin).unwrap_or_default().as_secs_f64();
            if seconds < 100.0 { format!("{seconds:.2} s") } else { format!("{seconds:.0} s") }
        }
        _ => "-".to_owned(),
    }
}

fn backend(story: &Story) -> Cell {
    let Some(served) = &story.served else {
        let verdicts = story.ingress.iter().flat_map(|s| &s.verdicts).map(String::as_str);
        return Cell::notable(format!("none: {}", verdicts.collect::<Vec<_>>().join(", ")));
    };
    let mut text = who(served);
    if !story.hops.is_empty() {
        let over: Vec<&str> = story.hops.iter().map(|hop| hop.node.as_str()).collect();
        text.push_str(&format!(" after {}", over.join(", ")));
    }
    Cell::from(text)
}

fn who(served: &Served) -> String {
    match (&served.backend, &served.node) {
        (Some(address), Some(node)) => format!("{address} ({node})"),
        (Some(address), None) => address.to_string(),
        (None, Some(node)) => format!("({node})"),
        (None, None) => "-".to_owned(),
    }
}

fn one(story: &Story) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let lines = wrap(&value, LINE - NAME_WIDTH).join(&format!("\n{:NAME_WIDTH$}", ""));
        out.push_str(&format!("{name:<NAME_WIDTH$}{lines}\n"));
    };
    line("flow", format!("{} {} -> {}", protocol(story), story.flow.source, story.flow.destination));
    if let Some(vip) = &story.vip {
        line("vip", vip.clone());
    }
    if let Some(pool) = &story.pool {
        line("pool", pool.clone());
    }
    line("began", story.begin.map_or_else(|| "before these logs, or not by a SYN".to_owned(), stamp));
    line("ended", story.end.map_or_else(|| "not seen".to_owned(), stamp));
    let backend = match &story.served {
        None => "none".to_owned(),
        Some(served) if served.node.is_some() => who(served),
        Some(served) => format!("{}, as it was sent there; no log of a backend says more", who(served)),
    };
    line("backend", backend);
    for sight in &story.ingress {
        line("ingress", format!("{}, to {}", seen(sight), list(sight)));
    }
    for sight in &story.backends {
        line("at", seen(sight));
    }
    for hop in &story.hops {
        let from = hop.sender.map(|sender| format!(", from {sender}")).unwrap_or_default();
        line(
            "hop",
            format!(
                "{}{from}, sent it on to {}: {}, first {}",
                hop.node,
                hop.next,
                packets(hop.records),
                clock(hop.first)
            ),
        );
    }
    out
}

fn seen(sight: &Sight) -> String {
    let place = sight.pop.as_ref().map(|pop| format!(" in {pop}")).unwrap_or_default();
    let times = if sight.records == 1 {
        clock(sight.first)
    } else {
        format!("{} to {}", clock(sight.first), clock(sight.last))
    };
    format!("{}{place}: {}, {times}, {}", sight.node, packets(sight.records), sight.verdicts.join(", "))
}

fn list(sight: &Sight) -> String {
    let backends: Vec<String> = sight.backends.iter().map(ToString::to_string).collect();
    if backends.is_empty() { "nobody".to_owned() } else { backends.join(", ") }
}

fn packets(number: u64) -> String {
    if number == 1 { "1 packet".to_owned() } else { format!("{number} packets") }
}

#[cfg(test)]
mod tests {
    use anycast_lb_flowlog::{Event, Events, Program, Record, parse_stamp, tell};

    use super::*;

    fn record(second: u32, node: &str, event: Event, port: u16) -> Record {
        Record {
            time: parse_stamp(&format!("2026-11-30T16:09:{second:02}.25Z")).expect("a time"),
            node: node.into(),
            pop: Some("fra1".into()),
            program: Program::Ingress,
            event: Events::default().with(event),
            protocol: 6,
            source: ([192, 0, 2, 7], port).into(),
            destination: ([203, 0, 113, 1], 443).into(),
            tcp_flags: 2,
            verdict: "forwarded_gue".into(),
            vip: Some("203.0.113.1:443/tcp".into()),
            pool: Some("web".into()),
            slot: Some(7),
            backend: Some([10, 0, 0, 12].into()),
            table_version: 3,
            sender: None,
            next: None,
            bytes: 74,
        }
    }

    fn at_backend(second: u32, node: &str, event: Event, port: u16, next: Option<[u8; 4]>) -> Record {
        let verdict = if next.is_some() { "hop" } else { "decap_gue" };
        Record {
            program: Program::Backend,
            verdict: verdict.into(),
            backend: None,
            sender: Some([10, 0, 0, if node == "b12" { 2 } else { 12 }].into()),
            next: next.map(Into::into),
            ..record(second, node, event, port)
        }
    }

    fn records(port: u16) -> Vec<Record> {
        vec![
            record(1, "fra1-lb1", Event::Begin, port),
            at_backend(1, "b12", Event::Begin, port, Some([10, 0, 0, 11])),
            at_backend(1, "b11", Event::Begin, port, None),
            record(4, "fra1-lb2", Event::End, port),
            at_backend(4, "b12", Event::End, port, Some([10, 0, 0, 11])),
            at_backend(4, "b11", Event::End, port, None),
        ]
    }

    fn shown(records: Vec<Record>) -> String {
        anstream::adapter::strip_str(&stories(&tell(records))).to_string()
    }

    #[test]
    fn many_flows_are_a_line_each_and_fit_80_columns() {
        let mut lost = record(9, "fra1-lb1", Event::Sample, 40_002);
        (lost.verdict, lost.backend) = ("empty_table".into(), None);
        let text = shown([records(40_000), vec![record(5, "fra1-lb1", Event::Begin, 40_001), lost]].concat());
        assert_eq!(
            text,
            "to tcp 203.0.113.1:443, on 2026-11-30 (UTC)\n\
             BEGAN           LASTED  CLIENT           BY                  BACKEND\n\
             16:09:01.250    3.00 s  192.0.2.7:40000  fra1-lb1, fra1-lb2  10.0.0.11 (b11) after b12\n\
             16:09:05.250         -  192.0.2.7:40001  fra1-lb1            10.0.0.12\n\
             16:09:09.250 *       -  192.0.2.7:40002  fra1-lb1            none: empty_table\n\
             * or earlier: its beginning is in none of these logs\n"
        );
        assert_eq!(shown(Vec::new()), "no such flow is in the logs that were read\n");
    }

    #[test]
    fn one_flow_is_told_whole() {
        assert_eq!(
            shown(records(40_000)),
            "flow     tcp 192.0.2.7:40000 -> 203.0.113.1:443\n\
             vip      203.0.113.1:443/tcp\n\
             pool     web\n\
             began    2026-11-30T16:09:01.250000000Z\n\
             ended    2026-11-30T16:09:04.250000000Z\n\
             backend  10.0.0.11 (b11)\n\
             ingress  fra1-lb1 in fra1: 1 packet, 16:09:01.250, forwarded_gue, to 10.0.0.12\n\
             ingress  fra1-lb2 in fra1: 1 packet, 16:09:04.250, forwarded_gue, to 10.0.0.12\n\
             at       b11 in fra1: 2 packets, 16:09:01.250 to 16:09:04.250, decap_gue\n\
             at       b12 in fra1: 2 packets, 16:09:01.250 to 16:09:04.250, hop\n\
             hop      b12, from 10.0.0.2, sent it on to 10.0.0.11: 2 packets, first\n         \
             16:09:01.250\n"
        );
    }
}
