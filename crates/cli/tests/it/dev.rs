//! `ottla dev` as the wrappers of other languages use it.

use std::net::TcpStream;
use std::path::PathBuf;

use crate::node::Home;

#[test]
fn a_ready_file_says_where_a_node_listens_of_which_nothing_is_left() {
    let home = Home::new();
    let ready = home.path().join("ready");
    std::fs::write(&ready, "127.0.0.1:1\n").unwrap();
    let mut node = home.dev(&["--ephemeral", "--port", "0", "--ready-file", ready.to_str().unwrap()]);
    node.wait_for("of cluster");
    node.wait_for("(CONTROLLER)");
    let address = std::iter::repeat_with(|| std::fs::read_to_string(&ready).unwrap_or_default())
        .find(|text| !text.is_empty())
        .expect("the file is written");
    TcpStream::connect(address.trim()).expect("connect to what the file names");
    let data = node.log.split_whitespace().find(|word| word.contains("ottla-dev-")).map(PathBuf::from);
    let data = data.expect("the log names the directory");
    assert!(data.exists());
    assert!(node.stop("-TERM").success(), "{}", node.log);
    assert!(!ready.exists());
    assert!(!data.exists(), "the data is removed");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is written where it was started");
}
