//! A node of the test's own: the real binary on free ports and a temporary directory.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use tempfile::TempDir;

/// A directory for a node, and the arguments that make it the node's own.
pub struct Home {
    dir: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("create a directory") }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The log directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("ottla-data")
    }

    /// `ottla` in this directory, on any free ports.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
        command.current_dir(self.dir.path()).env_remove("OTTLA_LOG");
        command.args(["--override", "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0"]);
        command.args(["--override", "controller.quorum.bootstrap.servers=127.0.0.1:9093"]).args(arguments);
        command
    }

    /// Starts a node and waits until it says that it has started.
    pub fn start(&self, arguments: &[&str]) -> Node {
        let mut node = Node::spawn(&mut self.command(arguments));
        node.wait_for("(CONTROLLER)");
        node
    }

    /// Starts `ottla dev`, and waits for nothing.
    pub fn dev(&self, arguments: &[&str]) -> Node {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
        Node::spawn(command.current_dir(self.path()).env("TMPDIR", "/tmp").arg("dev").args(arguments))
    }

    /// Runs a node that does not start. Returns its error lines.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("start a node");
        let stderr = String::from_utf8(output.stderr).expect("stderr is UTF-8");
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{stderr}");
        let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(stderr.lines().last(), errors.last().copied(), "{stderr}");
        errors.join("\n")
    }

    /// Starts a node once, so that there is a directory to spoil.
    pub fn used(&self) -> &Self {
        assert!(self.start(&[]).stop("-TERM").success());
        self
    }
}

/// Ends with the test.
pub struct Node {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// What it has written so far.
    pub log: String,
}

impl Node {
    fn spawn(command: &mut Command) -> Self {
        let piped = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("start a node");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        Self { child, stderr, log: String::new() }
    }

    /// Reads the log up to a line that contains `text`.
    pub fn wait_for(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).expect("read the node's log");
            assert!(read > 0, "the node ended before it said {text:?}:\n{}", self.log);
            self.log += &line;
            if line.contains(text) {
                return;
            }
        }
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status();
        assert!(status.expect("start kill").success());
    }

    /// Waits for the end, with the rest of the log read.
    pub fn end(&mut self) -> ExitStatus {
        self.stderr.read_to_string(&mut self.log).expect("read the node's log");
        self.child.wait().expect("wait for the node")
    }

    pub fn stop(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.end()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replaces `old` in a file.
pub fn replace(file: &Path, old: &str, new: &str) {
    let text = std::fs::read_to_string(file).expect("read a file");
    assert!(text.contains(old), "{text}");
    std::fs::write(file, text.replace(old, new)).expect("write a file");
}
