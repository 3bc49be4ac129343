//! Included files, secrets, what the command line says.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::{BACKEND, Dir, INTERFACE, SEED, backend, ingress, loaded};
use crate::config::{LogFormat, Overrides, Problems, load};
use crate::model::{BackendState, Encapsulation, Role, TableKind};

const POOL: &str = "[[pool]]\nname = \"web\"\nbackend = [{ address = \"10.0.0.1\" }]\n";
const VIP: &str = "[[vip]]\naddress = \"203.0.113.1\"\nprotocol = \"tcp\"\npool = \"web\"\n";

fn only(result: Result<super::Loaded, Problems>) -> super::super::Problem {
    let Err(Problems(problems)) = result else { panic!("accepted") };
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.into_iter().next().expect("one")
}

#[test]
fn defaults() {
    let config = loaded(&ingress(&format!("{POOL}{VIP}"))).config;
    assert_eq!(config.role, Role::Ingress);
    assert_eq!(
        (config.node.as_str(), config.pop.as_str(), config.instance.as_str()),
        ("n1", "default", "default")
    );
    assert_eq!(config.bpffs, Path::new("/sys/fs/bpf"));
    assert_eq!(config.state_dir, Path::new("/var/lib/anycast-lb"));
    assert_eq!(config.control.socket, Path::new("/run/anycast-lb/control.sock"));
    assert_eq!(config.control.group, None);
    assert!(config.control.write_back && !config.unmatched_pass);
    let pool = &config.pools[0];
    assert_eq!((pool.encapsulation, pool.table), (Encapsulation::Gue, TableKind::Rendezvous));
    assert_eq!((pool.slots, pool.margin_ppm, pool.hops), (16384, 35_000, 3));
    assert_eq!((pool.fill_time.as_secs(), pool.drain_timeout.as_secs()), (10, 1800));
    let backend = &pool.backends[0];
    assert_eq!((backend.weight, backend.state, &backend.pop), (100, BackendState::Active, &None));
    assert!(config.vips[0].second_chance);
    assert_eq!(config.seed.map(|s| s.0[15]), Some(15));
}

#[test]
fn second_chance_is_for_tcp() {
    for (protocol, on) in [("tcp", true), ("udp", false), ("any", false)] {
        let config = loaded(&ingress(&format!("{POOL}{}", VIP.replace("tcp", protocol)))).config;
        assert_eq!(config.vips[0].second_chance, on, "{protocol}");
    }
}

#[test]
fn an_instance_has_a_socket_of_its_own() {
    let config = loaded(&ingress("instance = \"b\"\n")).config;
    assert_eq!(config.control.socket, Path::new("/run/anycast-lb/b/control.sock"));
}

#[test]
fn a_backend_carries_no_pools() {
    let config = loaded(&backend(&format!("{POOL}{VIP}"))).config;
    assert!(config.pools.is_empty() && config.vips[0].pool.is_empty() && config.seed.is_none());
    assert_eq!(config.allowed_senders.len(), 1);
}

#[test]
fn the_command_line_wins_and_the_host_has_a_name() {
    let dir = Dir::new();
    let path = dir.put("config.toml", &ingress("pop = \"fra1\"\n"), 0o644);
    let overrides = Overrides { node: Some("x1".into()), pop: Some("sin1".into()) };
    let config = load(&path, &overrides).map(|l| l.config);
    assert_eq!(config.map(|c| (c.node, c.pop)), Ok(("x1".into(), "sin1".into())));
    let problem = only(load(&path, &Overrides { node: Some("a b".into()), pop: None }));
    assert_eq!(problem.key, "--node");
    let unnamed = backend("").replace("node = \"b1\"\n", "");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    assert_eq!(loaded(&unnamed).config.node, host.trim());
}

#[test]
fn the_log_format() {
    assert_eq!(loaded(&ingress("")).log, LogFormat::Auto);
    assert_eq!(loaded(&ingress("log = { format = \"human\" }\n")).log, LogFormat::Human);
}

#[test]
fn included_files_in_order_each_once() {
    let dir = Dir::new();
    dir.put("pools.d/b.toml", &POOL.replace("web", "b"), 0o644);
    dir.put("pools.d/a.toml", &POOL.replace("web", "a"), 0o644);
    dir.put("pools.d/a.toml~", "not TOML", 0o644);
    let main = ingress("include = [\"pools.d/b.toml\", \"pools.d/*.toml\", \"*.toml\"]\n");
    let loaded = dir.load(&main).expect("valid");
    let names: Vec<_> = loaded.config.pools.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(loaded.sources.paths().count(), 3);
}

#[test]
fn mistakes_in_included_files_name_them() {
    let dir = Dir::new();
    let file = dir.put("pools.d/web.toml", "[[pool]]\nname = \"web\"\nslots = 3\n", 0o644);
    let problem = only(dir.load(&ingress("include = [\"pools.d/*.toml\"]\n")));
    assert_eq!((problem.file.as_path(), problem.line), (file.as_path(), 3));
}

#[test]
fn an_included_file_with_a_syntax_error_does_not_make_its_pools_missing() {
    let dir = Dir::new();
    dir.put("pools.d/web.toml", "[[pool]]\nname = web\n", 0o644);
    let problem = only(dir.load(&ingress(&format!("include = [\"pools.d/*.toml\"]\n{VIP}"))));
    assert!(problem.message.starts_with("TOML syntax"), "{problem}");
}

#[test]
fn an_included_file_holds_entries_only() {
    let dir = Dir::new();
    dir.put("x.toml", "include = [\"y.toml\"]\n", 0o644);
    let problem = only(dir.load(&ingress("include = [\"x.toml\"]\n")));
    assert_eq!((problem.line, problem.key.as_str()), (1, "include"));
    assert!(problem.message.contains("stands in an included file"));
}

#[test]
fn a_pattern_that_matches_nothing_is_a_notice_a_name_is_a_mistake() {
    let dir = Dir::new();
    let loaded = dir.load(&ingress("include = [\"none.d/*.toml\"]\n")).expect("valid");
    assert_eq!((loaded.notices[0].line, loaded.notices[0].key.as_str()), (4, "include"));
    assert!(loaded.notices[0].message.contains("matches no file"));
    let problem = only(dir.load(&ingress("include = [\n  \"none.toml\",\n]\n")));
    assert_eq!(problem.line, 5);
    assert!(problem.message.contains("none.toml does not exist"), "{problem}");
    let problem = only(dir.load(&ingress("include = [\"[ab]*.toml\"]\n")));
    assert!(problem.hint.contains("* and ?"), "{problem}");
}

#[test]
fn unreadable_files() {
    let dir = Dir::new();
    let problem = only(load(&dir.path("none.toml"), &Overrides::default()));
    assert_eq!((problem.line, problem.message.as_str()), (0, "the file does not exist"));
    fs::write(dir.path("latin1.toml"), b"node = \"\xe9\"").expect("written");
    let problem = only(load(&dir.path("latin1.toml"), &Overrides::default()));
    assert_eq!(problem.message, "the file is not UTF-8 text");
    let problem = only(load(&dir.path(""), &Overrides::default()));
    assert!(problem.message.starts_with("cannot read the file"), "{problem}");
    // Included: the mistake is the included file's, and the other mistakes are still found.
    fs::rename(dir.path("latin1.toml"), dir.path("x.toml")).expect("renamed");
    let Err(Problems(problems)) =
        dir.load(&ingress(&format!("include = [\"x.toml\"]\nunmatched = 1\n{VIP}")))
    else {
        panic!("accepted")
    };
    let files: Vec<_> = problems.iter().map(|p| p.file.clone()).collect();
    assert_eq!(files, [dir.path("x.toml"), dir.path("config.toml")]);
}

#[test]
fn the_seed_is_required_and_private() {
    let dir = Dir::new();
    let unseeded = ingress("").replace("hash_seed_file = \"seed\"\n", "");
    let problem = only(dir.load(&unseeded));
    assert_eq!(problem.key, "hash_seed_file");
    assert!(problem.hint.contains("openssl rand -hex 16"));
    let seed = dir.put("seed", SEED, 0o644);
    let problem = only(dir.load(&ingress("")));
    assert_eq!(problem.line, 3);
    assert_eq!(problem.hint, format!("run: chmod 600 {}", seed.display()));
    dir.put("seed", "too short", 0o600);
    assert!(only(dir.load(&ingress(""))).message.contains("32 hexadecimal digits"));
}

#[test]
fn the_previous_seed_is_held_to_the_same() {
    let dir = Dir::new();
    // A new one would be of no use: it must be the one that was in force.
    let missing = only(dir.load(&ingress("hash_seed_previous_file = \"old\"\n")));
    assert!(missing.hint.contains("copy the seed that was in force"), "{}", missing.hint);
    dir.put("old", SEED, 0o604);
    let problem = only(dir.load(&ingress("hash_seed_previous_file = \"old\"\n")));
    assert_eq!((problem.line, problem.key.as_str()), (4, "hash_seed_previous_file"));
    dir.put("old", SEED, 0o600);
    let loaded = dir.load(&ingress("hash_seed_previous_file = \"old\"\n")).expect("valid");
    let said = |loaded: &crate::config::Loaded| {
        loaded.notices.iter().filter(|n| n.key == "hash_seed_previous_file").count()
    };
    assert_eq!(
        (said(&loaded), loaded.config.seed_previous.is_some()),
        (1, false),
        "the same seed is no change"
    );
    dir.put("old", &SEED.replace("00", "ff"), 0o600);
    let loaded = dir.load(&ingress("hash_seed_previous_file = \"old\"\n")).expect("valid");
    assert_eq!((said(&loaded), loaded.config.seed_previous.map(|s| s.0[0])), (0, Some(0xff)));
    let backend = dir.load(&backend("hash_seed_previous_file = \"missing\"\n")).expect("valid");
    assert_eq!(backend.config.seed_previous, None, "a backend does not hash");
}

#[test]
fn a_seed_in_the_file_itself_wants_a_private_file() {
    let text = ingress("").replace("hash_seed_file = \"seed\"", &format!("hash_seed = \"{}\"", SEED.trim()));
    let dir = Dir::new();
    let problem = only(dir.load(&text));
    assert_eq!((problem.line, problem.key.as_str()), (3, "hash_seed"));
    let path = dir.path("config.toml");
    assert!(problem.hint.starts_with(&format!("run: chmod 600 {}", path.display())), "{problem}");
    assert!(!problem.to_string().contains(SEED.trim()));
    dir.put("config.toml", &text, 0o640);
    let loaded = load(&path, &Overrides::default()).expect("valid");
    assert_eq!(loaded.config.seed.as_ref().map(|s| s.0[1]), Some(1));
    // Nothing that is printed by chance holds the secret.
    assert!(!format!("{loaded:?}").contains(SEED.trim()));
    let both = text.replace("hash_seed =", "hash_seed_file = \"seed\"\nhash_seed =");
    dir.put("config.toml", &both, 0o600);
    assert!(only(load(&path, &Overrides::default())).message.contains("given twice"));
}

#[test]
fn limits_on_hops_have_defaults() {
    let limits = |text: &str| {
        let limits = loaded(&backend(text)).config.hop_limits;
        (limits.per_prefix, limits.total)
    };
    assert_eq!(limits(""), (50_000, 500_000));
    assert_eq!(limits("[hop_limits]\nper_prefix = 100\n"), (100, 500_000));
    assert_eq!(limits("hop_limits = { total = 0 }\n"), (0, 0));
    // One prefix alone never has more than all.
    assert_eq!(limits("[hop_limits]\ntotal = 2000\n"), (2000, 2000));
    assert_eq!(limits("[hop_limits]\nper_prefix = 7\ntotal = 100000000\n"), (7, 100_000_000));
}

#[test]
fn networks_and_addresses_alone() {
    let text = format!("{BACKEND}{INTERFACE}").replace("[\"10.0.0.0/24\"]", "[\"10.0.0.1\", \"fd00::/64\"]");
    let config = loaded(&text).config;
    assert!(config.allowed_senders[0].contains(&IpAddr::from([10, 0, 0, 1])));
    assert_eq!(config.allowed_senders[0].prefix_len(), 32);
    assert_eq!(config.allowed_senders[1].prefix_len(), 64);
}
