//! Starting and stopping, and what is said when a node cannot start.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;

use crate::node::{Home, replace};
use crate::{ottla, stderr};

#[test]
fn the_first_start_formats_and_says_on_one_screen_what_runs_where() {
    let home = Home::new();
    let mut node = home.start(&[]);
    for words in [
        "started in ",
        "node 1 of cluster ",
        "broker and controller",
        "(PLAINTEXT)",
        "(CONTROLLER)",
        "ottla-data",
    ] {
        assert!(node.log.contains(words), "{words:?} in {}", node.log);
    }
    assert!(!node.log.contains("WARN"), "{}", node.log);
    assert!(node.log.lines().count() <= 12 && node.log.lines().all(|line| line.len() <= 125), "{}", node.log);
    assert!(!node.log.contains('\x1b'), "colours are for terminals");
    assert!(node.stop("-TERM").success());
    assert!(home.data().join(".kafka_cleanshutdown").exists());
}

#[test]
fn the_second_start_is_of_the_same_cluster() {
    let home = Home::new();
    let cluster = |log: &str| {
        let (_, rest) = log.split_once("of cluster ").expect("the cluster is named");
        rest.split(',').next().map(str::to_owned)
    };
    let mut node = home.start(&[]);
    let first = cluster(&node.log);
    assert!(node.stop("-INT").success());
    let mut node = home.start(&[]);
    assert_eq!(cluster(&node.log), first);
    assert!(!home.data().join(".kafka_cleanshutdown").exists(), "it is not clean while it runs");
    // After a crash too.
    node.signal("-KILL");
    assert!(!node.end().success());
    assert_eq!(cluster(&home.start(&[]).log), first);
}

#[test]
fn a_second_signal_does_not_wait() {
    let home = Home::new();
    let mut node = home.start(&[]);
    // Both are there when the process looks.
    for signal in ["-STOP", "-TERM", "-INT", "-CONT"] {
        node.signal(signal);
    }
    assert_eq!(node.end().code(), Some(1));
    assert!(node.log.ends_with(": stopped at once\n"), "{}", node.log);
    assert!(!home.data().join(".kafka_cleanshutdown").exists());
}

#[test]
fn a_port_in_use_is_named() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listeners = format!("listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:0");
    assert_eq!(
        home.refused(&["--override", &listeners]),
        format!("error: cannot listen on {address}: the port is in use by another process")
    );
}

#[test]
fn a_directory_is_one_process_s() {
    let home = Home::new();
    let _node = home.start(&[]);
    let error = home.refused(&[]);
    assert_eq!(error, "error: ./ottla-data is locked by another process");
}

#[test]
fn a_foreign_directory_is_refused() {
    let home = Home::new();
    home.used();
    assert_eq!(
        home.refused(&["--override", "node.id=2"]),
        "error: ./ottla-data belongs to node 1, but node.id is 2"
    );

    let other = Home::new();
    other.used();
    let dirs = format!("log.dirs=./ottla-data,{}", other.data().display());
    replace(&other.data().join("meta.properties"), "cluster.id=", "cluster.id=x");
    let error = home.refused(&["--override", &dirs]);
    assert!(error.contains("belongs to cluster x") && error.lines().count() == 1, "{error}");
}

#[test]
fn an_unreadable_directory_is_named() {
    let home = Home::new();
    fs::write(home.data(), "not a directory").unwrap();
    let error = home.refused(&[]);
    assert_eq!(error, "error: cannot read ./ottla-data: Not a directory (os error 20)");

    let home = Home::new();
    home.used();
    replace(&home.data().join("meta.properties"), "cluster.id=", "cluster=");
    let error = home.refused(&[]);
    assert_eq!(error, "error: ./ottla-data/meta.properties: cluster.id is missing");
}

#[test]
fn a_full_disk_is_named() {
    let home = Home::new();
    home.used();
    // What is written first at a start goes to a device without any space.
    let state = home.data().join("__cluster_metadata-0/quorum-state.tmp");
    symlink("/dev/full", state).unwrap();
    let error = home.refused(&[]);
    assert!(error.contains("quorum-state") && error.contains("No space left on device"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn wrong_settings_are_a_line_each() {
    let home = Home::new();
    let error = home.refused(&["--override", "num.partitions=0", "--override", "log.segment.bytes=x"]);
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(error.contains("num.partitions") && error.contains("log.segment.bytes"), "{error}");
    let output = ottla(["server", "nowhere.properties"]);
    assert_eq!(
        stderr(&output),
        "error: cannot read nowhere.properties: No such file or directory (os error 2)\n"
    );
}
