use std::path::Path;

use super::*;

fn shell(script: &str) -> Check {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    // Who is not root can only run commands as who he is.
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).expect("a user").expect("its name");
    let user = if me.uid.is_root() { "nobody".to_owned() } else { me.name };
    Check::Command(CommandCheck { command, user })
}

fn target() -> Target {
    let backend = "10.0.0.11".parse().expect("an address");
    let vip = "203.0.113.1:443".parse().expect("an address");
    Target { backend, vip: Some(SocketAddr::ip(&vip)), ..Target::direct(vip) }
}

#[tokio::test]
async fn the_status_decides_and_the_output_says_why() {
    assert_eq!(probe(&shell("exit 0"), &target(), LONG).await, Ok(()));
    let failure = probe(&shell("echo the disk is full >&2; exit 3"), &target(), LONG).await.unwrap_err();
    assert_eq!(failure, "the command ended with exit status: 3: the disk is full");
    let failure = probe(&shell("kill -9 $$"), &target(), LONG).await.unwrap_err();
    assert!(failure.contains("signal: 9"), "{failure}");
    let missing = Check::Command(CommandCheck {
        command: vec!["/nonexistent/check".to_owned()],
        user: "nobody".to_owned(),
    });
    let failure = probe(&missing, &target(), LONG).await.unwrap_err();
    assert!(failure.contains("cannot be run"), "{failure}");
}

#[tokio::test]
async fn it_is_told_what_is_meant_and_nothing_else() {
    let script = r#"
        test "$ANYCAST_LB_BACKEND" = 10.0.0.11 || exit 4
        test "$ANYCAST_LB_VIP" = 203.0.113.1 || exit 5
        test "$ANYCAST_LB_PORT" = 443 || exit 6
        test -z "$CARGO$HOME$USER" || exit 7
        test "$(pwd)" = / || exit 8
    "#;
    assert_eq!(probe(&shell(script), &target(), LONG).await, Ok(()));
}

#[tokio::test]
async fn it_never_runs_as_root() {
    let script = "test $(id -u) != 0 && test $(id -g) != 0 && test \"$(id -G)\" = \"$(id -g)\"";
    if nix::unistd::geteuid().is_root() {
        assert_eq!(probe(&shell(script), &target(), LONG).await, Ok(()));
    }
    let root = CommandCheck { command: vec!["/bin/true".to_owned()], user: "root".to_owned() };
    let error = Prepared::new(&Check::Command(root)).unwrap_err();
    assert!(error.to_string().contains("user `root` is root"), "{error}");
    let nobody = CommandCheck { command: vec!["/bin/true".to_owned()], user: "no-such-user".to_owned() };
    let error = Prepared::new(&Check::Command(nobody)).unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
}

/// Waits until nobody of these is left.
async fn gone(pids: &[u32]) {
    let deadline = Instant::now() + LATE;
    let lives = |pid: &u32| {
        // One that has died and waits to be reaped does nothing any more.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    while pids.iter().any(lives) {
        assert!(Instant::now() < deadline, "still there: {pids:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn pids(file: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(file).expect("the pids");
    text.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

/// A directory into which a command may write, whoever runs it.
fn place() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).expect("its mode");
    place
}

#[tokio::test]
async fn one_that_hangs_and_hears_no_signal_is_killed_with_its_children() {
    let place = place();
    let file = place.path().join("pids");
    let script = format!(
        "trap '' TERM INT HUP; sleep 1000 & (trap '' TERM; sleep 1000; sleep 1000) & echo $$ $! > {}; wait; wait",
        file.display()
    );
    let failure = probe(&shell(&script), &target(), Duration::from_secs(2)).await.unwrap_err();
    assert!(failure.starts_with("no success within"), "{failure}");
    let pids = pids(&file);
    assert_eq!(pids.len(), 2);
    gone(&pids).await;
}

#[tokio::test]
async fn children_left_behind_neither_delay_the_verdict_nor_stay() {
    let place = place();
    let file = place.path().join("pids");
    // The child has the command's output open.
    let script = format!("sleep 1000 & echo $! > {}; echo going; exit 1", file.display());
    let failure = probe(&shell(&script), &target(), LONG).await.unwrap_err();
    assert_eq!(failure, "the command ended with exit status: 1: going");
    gone(&pids(&file)).await;
}

#[tokio::test]
async fn endless_output_is_not_kept() {
    let failure = probe(&shell("yes words without end"), &target(), SHORT).await.unwrap_err();
    assert!(failure.starts_with("no success within"), "{failure}");
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; exit 1";
    let failure = probe(&shell(script), &target(), LONG).await.unwrap_err();
    assert!(failure.contains("xxx") && failure.len() <= 200, "{failure}");
}
