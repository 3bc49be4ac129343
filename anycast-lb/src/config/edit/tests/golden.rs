//! Texts before and after. A `-` begins a line that must go, a `+` one that must come.

use super::*;

/// Asserts that the changes make of the lines without `+` the lines without `-`.
fn golden(diff: &str, edits: &[Edit]) {
    let side = |other: char| {
        let lines = diff.lines().filter(|line| !line.starts_with(other));
        lines.map(|line| format!("{}\n", line.get(1..).unwrap_or(""))).collect::<String>()
    };
    let (before, after) = (side('+'), side('-'));
    let found = edited(&before, edits);
    assert!(found == after, "found:\n{found}\nexpected:\n{after}");
    // The line ends of the file are kept.
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let dir = Dir::new();
    let loaded = dir.load(&crlf(&(ingress("") + &before))).expect("valid");
    prepare(&loaded.sources, edits).and_then(Prepared::commit).expect("written");
    assert_eq!(dir.text("config.toml"), crlf(&(ingress("") + &after)));
}

const WEB: &str = "
 # The site.
 [[pool]] # of the web team
 name   = \"web\"
 [pool.health]
 type = \"tcp\" # good enough

 # Rack 1.
 [[pool.backend]]
   address = \"10.0.0.1\" # new hardware
   weight = 50           # half
 # Rack 2.
 [[pool.backend]]
   address = \"10.0.0.2\"
";

const REST: &str = "
 [[pool]]
 name = \"dns\"
 backend = [{ address = \"10.0.0.1\" }]

 # Who it is all for.
 [[vip]]
 address = \"203.0.113.1\"
 port = 443
 protocol = \"tcp\"
 pool = \"web\"
 [[vip]]
 address = \"203.0.113.1\"
 port = 80
 protocol = \"tcp\"
 pool = \"web\"

 # The end.
";

#[test]
fn backends_are_added_after_the_last_of_their_pool() {
    golden(
        &format!("{WEB}+[[pool.backend]]\n+  address = \"10.0.0.3\"\n{REST}"),
        &[add_backend("10.0.0.3", "web")],
    );
    let elsewhere = Edit::AddBackend {
        pool: "web".into(),
        address: address("10.0.0.3"),
        weight: Some(7),
        pop: Some("sin1".into()),
        server_id: None,
    };
    golden(
        &format!(
            "{WEB}+[[pool.backend]]\n+  address = \"10.0.0.3\"\n+  weight = 7\n+  pop = \"sin1\"\n{REST}"
        ),
        &[elsewhere],
    );
}

#[test]
fn the_first_backend_goes_behind_the_whole_pool() {
    golden(
        "
 [[pool]]
 name = \"web\"
 [pool.health]
 type = \"tcp\"
 # up to here
+
+[[pool.backend]]
+address = \"10.0.0.3\"

 # Others.
 [[pool]]
 name = \"dns\"
",
        &[add_backend("10.0.0.3", "web")],
    );
}

#[test]
fn vips_are_added_after_the_last() {
    golden(
        &format!(
            "{WEB}{}",
            REST.replace(
                "\n # The end.",
                "+[[vip]]\n+address = \"2001:db8::1\"\n+protocol = \"any\"\n+pool = \"web\"\n\n # The end.",
            )
        ),
        &[add_vip("[2001:db8::1]/any", "web")],
    );
}

#[test]
fn entries_that_stand_apart_get_a_blank_line() {
    golden(
        " [[pool]]
 name = \"a\"

 [[pool]]
 name = \"b\" # the last
+
+[[pool]]
+name = \"c\"
+encapsulation = \"l2\"
+table = \"maglev\"
+slots = 256

 # Nothing below.
",
        &[Edit::AddPool {
            name: "c".into(),
            encapsulation: Some(Encapsulation::L2),
            table: Some(TableKind::Maglev),
            slots: Some(256),
        }],
    );
}

#[test]
fn the_first_of_its_kind_goes_to_the_end() {
    golden(
        " # Only a comment.
+
+[[pool]]
+name = \"web\"
+
+[[vip]]
+address = \"203.0.113.1\"
+port = 443
+protocol = \"tcp\"
+pool = \"web\"
",
        &[add_pool("web"), add_vip("203.0.113.1:443/tcp", "web")],
    );
}

#[test]
fn a_backend_goes_with_its_own_comment() {
    let without_first = WEB.replace(
        "\n # Rack 1.\n [[pool.backend]]\n   address = \"10.0.0.1\" # new hardware\n   weight = 50           # half\n",
        "\n-# Rack 1.\n-[[pool.backend]]\n-  address = \"10.0.0.1\" # new hardware\n-  weight = 50           # half\n",
    );
    golden(&format!("{without_first}{REST}"), &[remove_backend("10.0.0.1", Some("web"))]);
    let without_second = WEB.replace(
        " # Rack 2.\n [[pool.backend]]\n   address = \"10.0.0.2\"\n",
        "-# Rack 2.\n-[[pool.backend]]\n-  address = \"10.0.0.2\"\n",
    );
    golden(&format!("{without_second}{REST}"), &[remove_backend("10.0.0.2", None)]);
}

#[test]
fn a_vip_goes_and_its_neighbours_stay() {
    let rest = REST.replace(
        " [[vip]]\n address = \"203.0.113.1\"\n port = 80\n protocol = \"tcp\"\n pool = \"web\"\n",
        "-[[vip]]\n-address = \"203.0.113.1\"\n-port = 80\n-protocol = \"tcp\"\n-pool = \"web\"\n",
    );
    golden(&format!("{WEB}{rest}"), &[remove_vip("203.0.113.1:80/tcp")]);
}

#[test]
fn a_pool_goes_with_all_that_is_below_it() {
    // Also what stands behind a table of another kind.
    golden(
        " [[pool]]
 name = \"a\"
-
-# Old.
-[[pool]]
-name = \"b\"
-
-# Its check.
-[pool.health]
-type = \"tcp\"
-[[pool.backend]]
-address = \"10.0.0.2\"

 [[prefix]]
 prefix = \"203.0.113.0/24\"
-
-[[pool.backend]]
-address = \"10.0.0.3\"
-# late
",
        &[Edit::RemovePool { name: "b".into() }],
    );
}

#[test]
fn blank_lines_do_not_pile_up() {
    golden(
        " [[pool]]
 name = \"a\"

-[[pool]]
-name = \"b\"
-
 [[pool]]
 name = \"c\"
",
        &[Edit::RemovePool { name: "b".into() }],
    );
}

#[test]
fn values_change_in_place() {
    let text = WEB.replace(
        "   weight = 50           # half\n",
        "-  weight = 50           # half\n+  weight = 70           # half\n",
    );
    golden(&format!("{text}{REST}"), &[set_weight("10.0.0.1", Some("web"), 70)]);
}

#[test]
fn a_new_key_goes_below_the_last_one() {
    let first = WEB.replace("# half\n", "# half\n+  state = \"draining\"\n");
    golden(&format!("{first}{REST}"), &[set_state("10.0.0.1", Some("web"), BackendState::Draining)]);
    let second = format!("{WEB}+  weight = 9\n{REST}");
    golden(&second, &[set_weight("10.0.0.2", None, 9)]);
}

#[test]
fn without_a_pool_all_that_have_the_backend_change() {
    let web = WEB.replace("# half\n", "# half\n+  state = \"draining\"\n");
    let rest = REST.replace(
        " backend = [{ address = \"10.0.0.1\" }]",
        "-backend = [{ address = \"10.0.0.1\" }]\n+backend = [{ address = \"10.0.0.1\", state = \"draining\" }]",
    );
    golden(&format!("{web}{rest}"), &[set_state("10.0.0.1", None, BackendState::Draining)]);
}

#[test]
fn what_is_so_already_changes_nothing() {
    golden(
        &format!("{WEB}{REST}"),
        &[set_weight("10.0.0.1", Some("web"), 50), set_state("10.0.0.2", None, BackendState::Active)],
    );
}

/// One pool with its backends in brackets.
fn list(backends: &str) -> String {
    format!(" [[pool]]\n name = \"web\"\n{backends} hops = 0\n")
}

#[test]
fn lists_in_one_line() {
    golden(
        &list(
            "-backend = [{ address = \"10.0.0.1\" }] # one\n+backend = [{ address = \"10.0.0.1\" }, { address = \"10.0.0.2\" }] # one\n",
        ),
        &[add_backend("10.0.0.2", "web")],
    );
    golden(
        &list("-backend = []\n+backend = [{ address = \"10.0.0.2\" }]\n"),
        &[add_backend("10.0.0.2", "web")],
    );
    let two = |after: &str, gone| {
        golden(
            &list(&format!(
                "-backend = [{{ address = \"10.0.0.1\" }}, {{ address = \"10.0.0.2\" }},]\n+backend = [{after}]\n"
            )),
            &[remove_backend(gone, None)],
        );
    };
    two("{ address = \"10.0.0.2\" },", "10.0.0.1");
    two("{ address = \"10.0.0.1\" },", "10.0.0.2");
    golden(
        &list("-backend = [{ address = \"10.0.0.1\" },]\n+backend = []\n"),
        &[remove_backend("10.0.0.1", None)],
    );
}

#[test]
fn lists_of_a_line_for_each() {
    golden(
        &list(
            " backend = [ # all
   { address = \"10.0.0.1\" }, # rack 1, \"]\"
   { address = \"10.0.0.2\" }, # rack 2
+  { address = \"10.0.0.3\" },
   # more to come
 ]
",
        ),
        &[add_backend("10.0.0.3", "web")],
    );
    golden(
        &list(
            " backend = [
   { address = \"10.0.0.1\" },
-  { address = \"10.0.0.2\" } # no comma, here
+  { address = \"10.0.0.2\" }, # no comma, here
+  { address = \"10.0.0.3\" }
 ]
",
        ),
        &[add_backend("10.0.0.3", "web")],
    );
    golden(
        &list(
            " backend = [
-  { address = \"10.0.0.1\" } ]
+  { address = \"10.0.0.1\" },
+  { address = \"10.0.0.3\" } ]
",
        ),
        &[add_backend("10.0.0.3", "web")],
    );
    golden(
        &list(
            " backend = [
   # rack 1
   { address = \"10.0.0.1\" }, # one
-  # rack 2
-  { address = \"10.0.0.2\" }, # two
   # rack 3
   { address = \"10.0.0.3\" }, # three
 ]
",
        ),
        &[remove_backend("10.0.0.2", None)],
    );
}

#[test]
fn pools_and_vips_in_brackets() {
    let dir = Dir::new();
    let before = ingress(
        "pool = [{ name = \"web\" }] # all
vip = [{ address = \"203.0.113.1\", protocol = \"any\", pool = \"web\" }]
",
    );
    let edits = [
        add_backend("10.0.0.1", "web"),
        add_pool("dns"),
        add_vip("203.0.113.2/any", "dns"),
        remove_vip("203.0.113.1/any"),
    ];
    let loaded = dir.load(&before).expect("valid");
    prepare(&loaded.sources, &edits).and_then(Prepared::commit).expect("written");
    let after = ingress(
        "pool = [{ name = \"web\", backend = [{ address = \"10.0.0.1\" }] }, { name = \"dns\" }] # all
vip = [{ address = \"203.0.113.2\", protocol = \"any\", pool = \"dns\" }]
",
    );
    assert_eq!(dir.text("config.toml"), after);
}

#[test]
fn no_newline_at_the_end() {
    let end = "[[pool]]\nname = \"web\"\n[[pool.backend]]\naddress = \"10.0.0.1\"";
    assert_eq!(
        edited(end, &[add_backend("10.0.0.2", "web")]),
        format!("{end}\n[[pool.backend]]\naddress = \"10.0.0.2\"\n")
    );
    assert_eq!(edited(end, &[set_weight("10.0.0.1", None, 3)]), format!("{end}\nweight = 3"));
    assert_eq!(edited(end, &[remove_backend("10.0.0.1", None)]), "[[pool]]\nname = \"web\"\n");
}

#[test]
fn a_string_that_looks_like_a_comment_is_none() {
    let before = "[[pool]]\nname = \"web\"\n[pool.health]\ntype = \"http\"\nbody = \"\"\"\n# not a comment\"\"\"\n[[vip]]\naddress = \"203.0.113.1\"\nprotocol = \"any\"\npool = \"web\"\n";
    let after = before.split("[[vip]]").next().expect("the part before");
    assert_eq!(edited(before, &[remove_vip("203.0.113.1/any")]), after);
}

#[test]
fn a_byte_order_mark_moves_nothing() {
    let dir = Dir::new();
    let text = |weight: &str| ["\u{feff}", &ingress(""), WEB].concat().replace("weight = 50", weight);
    let loaded = dir.load(&text("weight = 50")).expect("valid");
    prepare(&loaded.sources, &[set_weight("10.0.0.1", None, 7)]).and_then(Prepared::commit).expect("written");
    assert_eq!(dir.text("config.toml"), text("weight = 7"));
}

/// The text after the changes, from the first line on.
fn whole(text: &str, edits: &[Edit]) -> String {
    let dir = Dir::new();
    let loaded = dir.load(text).unwrap_or_else(|e| panic!("{e}\nin:\n{text}"));
    prepare(&loaded.sources, edits).and_then(Prepared::commit).expect("written");
    dir.text("config.toml")
}

#[test]
fn drained_pops_stand_at_the_top_of_the_main_file() {
    let set = |pop: &str, drained| Edit::SetPop { pop: pop.into(), drained };
    let pool = "[[pool]]\nname = \"web\"\nrescue = [\"sin1\"]\n";
    let before = ingress(&format!("pop = \"fra1\" # Frankfurt\n\n# Pools.\n{pool}"));
    let with = |line: &str| before.replacen("# Frankfurt\n", &format!("# Frankfurt\n{line}"), 1);
    let one = with("drained_pops = [\"fra1\"]\n");
    assert_eq!(whole(&before, &[set("fra1", true)]), one);
    assert_eq!(whole(&one, &[set("fra1", true)]), one);
    assert_eq!(whole(&before, &[set("fra1", false)]), before);
    let two = with("drained_pops = [\"fra1\", \"sin1\"]\n");
    assert_eq!(whole(&one, &[set("sin1", true)]), two);
    assert_eq!(whole(&two, &[set("sin1", false)]), one);
    let none = with("drained_pops = []\n");
    assert_eq!(whole(&one, &[set("fra1", false)]), none);
    assert_eq!(whole(&none, &[set("sin1", true)]), with("drained_pops = [\"sin1\"]\n"));
}
