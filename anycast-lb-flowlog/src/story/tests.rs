use std::time::UNIX_EPOCH;

use super::*;
use crate::record::{Events, tests::record};

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000) + Duration::from_millis(milliseconds)
}

fn host(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

/// A packet at an ingress node, sent to a backend.
fn sent(time: u64, node: &str, event: Option<Event>, backend: u8) -> Record {
    let event = event.map_or(Events::default().with(Event::Sample), |e| Events::default().with(e));
    Record { time: at(time), node: node.into(), event, backend: Some(host(backend)), ..record() }
}

/// A packet at a backend.
fn at_backend(time: u64, node: &str, event: Option<Event>, sender: u8, next: Option<u8>) -> Record {
    let mut record = sent(time, node, event, 0);
    if next.is_some() {
        record.event = record.event.with(Event::Hop);
    }
    Record {
        program: Program::Backend,
        vip: None,
        pool: None,
        slot: None,
        backend: None,
        sender: Some(host(sender)),
        next: next.map(host),
        verdict: if next.is_some() { "hop" } else { "decap_gue" }.into(),
        ..record
    }
}

fn one(records: Vec<Record>) -> Story {
    let mut stories = tell(records);
    assert_eq!(stories.len(), 1, "{stories:#?}");
    stories.remove(0)
}

fn served(story: &Story) -> (Option<IpAddr>, Option<&str>) {
    let served = story.served.as_ref().expect("somebody had it");
    (served.backend, served.node.as_deref())
}

#[test]
fn a_flow_that_stays_has_one_of_each() {
    let story = one(vec![
        at_backend(1, "b11", Some(Event::Begin), 2, None),
        sent(0, "lb1", Some(Event::Begin), 11),
        at_backend(91, "b11", Some(Event::End), 2, None),
        sent(90, "lb1", Some(Event::End), 11),
    ]);
    assert_eq!((story.begin, story.end), (Some(at(0)), Some(at(90))));
    assert_eq!(served(&story), (Some(host(11)), Some("b11")));
    assert_eq!((story.ingress.len(), story.backends.len(), story.hops.len()), (1, 1, 0));
    assert_eq!((story.ingress[0].records, story.pool.as_deref()), (2, Some("web")));
}

#[test]
fn hops_lead_to_who_has_it() {
    // Opened at 11; the end comes by another node, to 12, which sends it on to 13, and that to 11.
    let story = one(vec![
        sent(0, "lb1", Some(Event::Begin), 11),
        at_backend(1, "b11", Some(Event::Begin), 2, None),
        sent(5000, "lb2", Some(Event::End), 12),
        at_backend(5001, "b12", Some(Event::End), 3, Some(13)),
        at_backend(5002, "b13", Some(Event::End), 12, Some(11)),
        at_backend(5003, "b11", Some(Event::End), 13, None),
    ]);
    assert_eq!(served(&story), (Some(host(11)), Some("b11")));
    let ways: Vec<_> = story.hops.iter().map(|h| (h.node.as_str(), h.sender, h.next)).collect();
    assert_eq!(ways, [("b12", Some(host(3)), host(13)), ("b13", Some(host(12)), host(11))]);
    assert_eq!(story.ingress.iter().map(|s| s.node.as_str()).collect::<Vec<_>>(), ["lb1", "lb2"]);
}

#[test]
fn a_late_packet_that_nobody_has_does_not_move_the_flow() {
    let mut lost = at_backend(9000, "b13", Some(Event::End), 12, None);
    lost.verdict = LAST.into();
    let story = one(vec![
        sent(0, "lb1", Some(Event::Begin), 11),
        at_backend(1, "b11", Some(Event::Begin), 2, None),
        at_backend(91, "b11", Some(Event::End), 2, None),
        at_backend(8999, "b12", Some(Event::End), 2, Some(13)),
        lost,
    ]);
    assert_eq!(served(&story), (Some(host(11)), Some("b11")));
}

#[test]
fn without_the_backends_logs_it_is_known_who_was_sent_it() {
    let story = one(vec![sent(0, "lb1", Some(Event::Begin), 11), sent(9, "lb2", Some(Event::End), 12)]);
    assert_eq!(served(&story), (Some(host(12)), None));
    let hopped = one(vec![sent(0, "lb1", Some(Event::Begin), 12), at_backend(1, "b12", None, 2, Some(11))]);
    assert_eq!(served(&hopped), (Some(host(11)), None));
    let mut dropped = sent(0, "lb1", Some(Event::Begin), 0);
    dropped.backend = None;
    assert_eq!(one(vec![dropped]).served, None);
}

#[test]
fn ports_that_are_used_again_are_another_flow() {
    let first = [
        sent(0, "lb1", Some(Event::Begin), 11),
        // The clock of this one is late.
        at_backend(200, "b11", Some(Event::Begin), 2, None),
        sent(10, "lb1", Some(Event::End), 11),
        at_backend(210, "b11", Some(Event::End), 2, None),
    ];
    let second = first.clone().map(|mut r| {
        r.time += Duration::from_secs(5);
        r
    });
    let stories = tell([first.as_slice(), second.as_slice()].concat());
    assert_eq!(stories.len(), 2, "{stories:#?}");
    for (story, start) in stories.iter().zip([0, 5000]) {
        assert_eq!((story.begin, story.end), (Some(at(start)), Some(at(start + 10))));
        assert_eq!(served(story), (Some(host(11)), Some("b11")));
    }
    // A SYN that is sent again opens nothing new.
    let again = [0, 1000, 3000, 7000].map(|time| sent(time, "lb1", Some(Event::Begin), 11));
    assert_eq!(tell(again.to_vec()).len(), 1);
}

/// Begin and end of each story, and who had it.
fn outline(records: &[Record]) -> Vec<(Option<SystemTime>, Option<SystemTime>, Option<String>)> {
    let of = |story: Story| (story.begin, story.end, story.served.and_then(|served| served.node));
    tell(records.to_vec()).into_iter().map(of).collect()
}

#[test]
fn on_one_node_the_next_connection_may_follow_at_once() {
    let expected = |end, begin| {
        vec![
            (Some(at(0)), end, Some("b11".to_owned())),
            (Some(at(begin)), Some(at(begin + 100)), Some("b12".into())),
        ]
    };
    let second = |begin| {
        [
            sent(begin, "lb1", Some(Event::Begin), 12),
            at_backend(begin + 1, "b12", Some(Event::Begin), 2, None),
            sent(begin + 100, "lb1", Some(Event::End), 12),
        ]
    };
    let first = [sent(0, "lb1", Some(Event::Begin), 11), at_backend(1, "b11", Some(Event::Begin), 2, None)];
    let ended = [first.as_slice(), &[sent(100, "lb1", Some(Event::End), 11)], &second(120)].concat();
    assert_eq!(outline(&ended), expected(Some(at(100)), 120));
    // Nobody said that it ends, but it was open.
    let lost = [first.as_slice(), &[sent(1000, "lb1", None, 11)], &second(60_000)].concat();
    assert_eq!(outline(&lost), expected(None, 60_000));
    // The same SYN by another node, whose clock is behind, and the end of the first by a third, are none.
    let by_others = [
        sent(0, "lb1", Some(Event::Begin), 11),
        sent(10, "lb2", Some(Event::Begin), 11),
        sent(20, "lb1", Some(Event::End), 11),
        sent(30, "lb2", Some(Event::End), 11),
        sent(300, "lb3", Some(Event::Begin), 11),
    ];
    assert_eq!(tell(by_others.to_vec()).len(), 1);
}

#[test]
fn a_clock_may_differ_by_half_a_second_and_no_more() {
    for (behind, is_right) in [(500, true), (501, false)] {
        let records = [
            sent(0, "lb1", Some(Event::Begin), 11),
            sent(10, "lb1", Some(Event::End), 11),
            sent(5000, "lb1", Some(Event::Begin), 12),
            at_backend(5000 - behind, "b12", Some(Event::Begin), 2, None),
        ];
        let stories = tell(records.to_vec());
        assert_eq!(stories.len(), 2);
        assert_eq!(stories[1].backends.len() == 1, is_right, "{behind}");
    }
    // Where less is between two, half of it.
    let records = [
        sent(0, "lb1", Some(Event::Begin), 11),
        sent(10, "lb1", Some(Event::End), 11),
        at_backend(59, "b11", Some(Event::End), 2, None),
        at_backend(60, "b12", Some(Event::Begin), 2, None),
        sent(110, "lb1", Some(Event::Begin), 12),
    ];
    let nodes: Vec<_> =
        tell(records.to_vec()).into_iter().map(|story| story.backends[0].node.clone()).collect();
    assert_eq!(nodes, ["b11", "b12"]);
}

#[test]
fn what_has_neither_beginning_nor_end_is_another_flow_after_a_pause() {
    let udp = |time, backend| Record { protocol: 17, tcp_flags: 0, ..sent(time, "lb1", None, backend) };
    let records = [udp(0, 11), udp(180_000, 11), udp(360_001, 12), udp(400_000, 12)];
    let firsts: Vec<_> =
        tell(records.to_vec()).iter().map(|s| (s.first, s.served.clone().unwrap().backend)).collect();
    assert_eq!(firsts, [(at(0), Some(host(11))), (at(360_001), Some(host(12)))]);
    // A connection may be silent for hours.
    let tcp = [0, 10_000_000].map(|time| sent(time, "lb1", None, 11));
    assert_eq!(tell(tcp.to_vec()).len(), 1);
}

#[test]
fn records_that_come_twice_count_once_and_a_story_travels() {
    let records = [sent(0, "lb1", Some(Event::Begin), 11), at_backend(1, "b11", None, 2, Some(12))];
    let story = one([records.clone(), records].concat());
    assert_eq!((story.ingress[0].records, story.hops[0].records), (1, 1));
    let text = serde_json::to_string(&story).unwrap();
    assert_eq!(serde_json::from_str::<Story>(&text).unwrap(), story);
}
