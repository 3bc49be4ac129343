//! What is on disk before and after.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use super::*;
use crate::config::tests::{SEED, backend};
use crate::config::{Overrides, load};

const POOL: &str = "[[pool]]\nname = \"web\"\n[[pool.backend]]\naddress = \"10.0.0.1\"\n";

#[test]
fn mode_owner_and_symlinks_are_kept() {
    let dir = Dir::new();
    let real = dir.put("real/config.toml", &ingress(POOL), 0o640);
    // Only root can give files away; without it the owner is our own and stays so.
    let given = chown(&real, Some(1234), Some(2345)).is_ok();
    dir.put("real/seed", SEED, 0o600);
    symlink("real/config.toml", dir.path("middle.toml")).expect("a link");
    symlink(dir.path("middle.toml"), dir.path("config.toml")).expect("a link");
    dir.put("seed", SEED, 0o600);
    let loaded = load(&dir.path("config.toml"), &Overrides::default()).expect("valid");
    let prepared = prepare(&loaded.sources, &[add_backend("10.0.0.2", "web")]).expect("valid");
    assert_eq!(prepared.changed_files().collect::<Vec<_>>(), [dir.path("config.toml")]);
    assert_eq!(prepared.config().pools[0].backends.len(), 2);
    assert!(!dir.text("config.toml").contains("10.0.0.2"));
    prepared.commit().expect("written");

    assert!(dir.text("real/config.toml").contains("10.0.0.2"));
    for link in ["config.toml", "middle.toml"] {
        assert!(fs::symlink_metadata(dir.path(link)).expect("there").is_symlink(), "{link}");
    }
    let metadata = fs::metadata(&real).expect("there");
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    if given {
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 2345));
    }
    let names: Vec<_> =
        fs::read_dir(dir.path("real")).expect("a list").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names.len(), 2, "nothing else is left behind: {names:?}");
}

#[test]
fn what_was_written_is_what_is_loaded_next_and_may_be_changed_again() {
    let dir = Dir::new();
    let loaded = dir.load(&ingress(POOL)).expect("valid");
    let prepared = prepare(&loaded.sources, &[add_backend("10.0.0.2", "web")]).expect("valid");
    let expected = prepared.config().clone();
    let sources = prepared.commit().expect("written");
    let again = load(&dir.path("config.toml"), &Overrides::default()).expect("valid");
    assert_eq!(again.config, expected);
    let prepared = prepare(&sources, &[remove_backend("10.0.0.1", None)]).expect("valid");
    prepared.commit().expect("written");
    assert!(!dir.text("config.toml").contains("10.0.0.1"));
}

fn assert_changed(error: Result<Sources, EditError>, file: &Path) {
    match error {
        Err(error @ EditError::Changed { .. }) => {
            assert!(error.to_string().contains(&file.display().to_string()), "{error}");
            assert!(error.hint().contains("anycast-lb reload"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_was_edited_since_is_not_overwritten() {
    let dir = Dir::new();
    let loaded = dir.load(&ingress(POOL)).expect("valid");
    let prepared = prepare(&loaded.sources, &[add_backend("10.0.0.2", "web")]).expect("valid");
    let edited = ingress(POOL) + "# edited\n";
    let path = dir.put("config.toml", &edited, 0o644);
    assert_changed(prepared.commit(), &path);
    assert_eq!(dir.text("config.toml"), edited);
    fs::remove_file(&path).expect("removed");
    let prepared = prepare(&loaded.sources, &[add_backend("10.0.0.2", "web")]).expect("valid");
    assert!(matches!(prepared.commit(), Err(EditError::Changed { .. } | EditError::Io { .. })));
    assert!(!path.exists());
}

#[test]
fn the_file_that_holds_the_entry_is_the_one_that_changes() {
    let dir = Dir::new();
    let main = ingress("include = [\"pools.d/*.toml\"]\n")
        + "[[vip]]\naddress = \"203.0.113.1\"\nprotocol = \"any\"\npool = \"web\"\n";
    dir.put("pools.d/a.toml", POOL, 0o644);
    dir.put("pools.d/b.toml", &POOL.replace("web", "b"), 0o644);
    let loaded = dir.load(&main).expect("valid");
    let edits = [
        set_weight("10.0.0.1", Some("web"), 5),
        add_pool("c"),
        add_vip("203.0.113.2/any", "web"),
        add_backend("10.0.0.3", "b"),
    ];
    prepare(&loaded.sources, &edits).and_then(Prepared::commit).expect("written");
    assert_eq!(dir.text("pools.d/a.toml"), format!("{POOL}weight = 5\n"));
    let b = dir.text("pools.d/b.toml");
    assert!(b.contains("10.0.0.3") && b.contains("name = \"c\""), "{b}");
    assert!(dir.text("config.toml").starts_with(&main) && dir.text("config.toml").contains("203.0.113.2"));
}

#[test]
fn an_edit_of_another_file_or_a_new_one_refuses_too() {
    let dir = Dir::new();
    let main = ingress("include = [\"pools.d/*.toml\"]\n");
    let a = dir.put("pools.d/a.toml", POOL, 0o644);
    let loaded = dir.load(&main).expect("valid");
    let prepared = || prepare(&loaded.sources, &[add_vip("203.0.113.2/any", "web")]).expect("valid");
    // The pool that the VIP needs has just been taken out by hand.
    dir.put("pools.d/a.toml", "", 0o644);
    assert_changed(prepared().commit(), &a);
    dir.put("pools.d/a.toml", POOL, 0o644);
    let b = dir.put("pools.d/b.toml", "", 0o644);
    assert_changed(prepared().commit(), &b);
    assert_eq!(dir.text("config.toml"), main);
    fs::remove_file(b).expect("removed");
    prepared().commit().expect("written");
}

#[test]
fn the_seed_in_use_is_kept_when_its_file_has_changed() {
    let dir = Dir::new();
    let loaded = dir.load(&ingress(POOL)).expect("valid");
    dir.put("seed", &SEED.replace('0', "f"), 0o600);
    let prepared = prepare(&loaded.sources, &[set_weight("10.0.0.1", None, 5)]).expect("valid");
    assert_eq!(prepared.config().seed, loaded.config.seed);
    fs::remove_file(dir.path("seed")).expect("removed");
    let sources = prepared.commit().expect("written");
    assert!(prepare(&sources, &[set_weight("10.0.0.1", None, 6)]).is_ok());
}

#[test]
fn a_directory_that_cannot_be_written_leaves_the_file_as_it_was() {
    let dir = Dir::new();
    let loaded = dir.load(&ingress(POOL)).expect("valid");
    let prepared = prepare(&loaded.sources, &[set_weight("10.0.0.1", None, 5)]).expect("valid");
    let directory = dir.path("");
    fs::set_permissions(&directory, Permissions::from_mode(0o555)).expect("a mode set");
    let result = prepared.commit();
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).expect("a mode set");
    // Root writes everywhere.
    match result {
        Ok(_) => assert!(dir.text("config.toml").contains("weight = 5")),
        Err(error) => {
            assert_eq!(error.code(), "io");
            assert_eq!(dir.text("config.toml"), ingress(POOL));
        }
    }
}

#[test]
fn a_backend_hosts_vips_need_no_pool() {
    let dir = Dir::new();
    let loaded = dir.load(&backend("")).expect("valid");
    let edits = [add_vip("203.0.113.1/any", ""), add_vip("203.0.113.2/any", "elsewhere")];
    prepare(&loaded.sources, &edits).and_then(Prepared::commit).expect("written");
    let vips = "
[[vip]]
address = \"203.0.113.1\"
protocol = \"any\"

[[vip]]
address = \"203.0.113.2\"
protocol = \"any\"
pool = \"elsewhere\"
";
    assert_eq!(dir.text("config.toml"), backend("") + vips);
}
