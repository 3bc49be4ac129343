//! The whole of it: files in, configuration or mistakes out.

use super::*;

#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let p = dir.path().join("c.toml");
    fs::write(&p, include_str!("../../../config.example.toml")).unwrap();
    match load(&p, &Overrides::default()) {
        Ok(l) => println!("{:#?}", l.notices.iter().map(|n| n.to_string()).collect::<Vec<_>>()),
        Err(e) => println!("{e}"),
    }
}
