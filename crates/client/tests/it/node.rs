//! A node of both roles in this process, on temporary directories and free ports.

use std::net::SocketAddr;

use ottla_client::ClientConfig;
use ottla_commit_log::RealDisk;
use ottla_server::config::{Properties, ServerConfig};
use ottla_server::node::RunningNode;
use ottla_server::storage;
use tempfile::TempDir;

pub struct TestNode {
    running: Option<RunningNode>,
    runtime: tokio::runtime::Runtime,
    text: String,
    _dir: TempDir,
}

impl TestNode {
    /// Node 1, with `extra` settings.
    pub fn start(extra: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let text = format!(
            "node.id=1\nprocess.roles=broker,controller\n\
             listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\n\
             controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:9093\n\
             log.dirs={}\noffsets.topic.replication.factor=1\n{extra}",
            dir.path().join("data").display()
        );
        let config = config_of(&text);
        assert!(storage::format_if_new(&RealDisk, &config).unwrap());
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        let running = runtime.block_on(RunningNode::start(config)).unwrap();
        Self { running: Some(running), runtime, text, _dir: dir }
    }

    /// Stops the node and starts it again at the same port, on the same data.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    pub fn stop(&mut self) {
        let address = format!("PLAINTEXT://{}", self.address());
        self.text = self.text.replace("PLAINTEXT://127.0.0.1:0", &address);
        self.runtime.block_on(self.running.take().unwrap().stop());
    }

    /// After [`Self::stop`].
    pub fn start_again(&mut self) {
        self.running = Some(self.runtime.block_on(RunningNode::start(config_of(&self.text))).unwrap());
    }

    pub fn address(&self) -> SocketAddr {
        self.listener("PLAINTEXT")
    }

    /// Where the controller listens.
    pub fn controller_address(&self) -> SocketAddr {
        self.listener("CONTROLLER")
    }

    fn listener(&self, listener: &str) -> SocketAddr {
        let addresses = &self.running.as_ref().unwrap().addresses;
        addresses.iter().find(|(name, _)| name == listener).unwrap().1
    }

    pub fn config(&self) -> ClientConfig {
        ClientConfig::new(&self.address().to_string())
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

fn config_of(text: &str) -> ServerConfig {
    let properties = Properties::parse("test", text).unwrap();
    ServerConfig::from_properties(&properties).unwrap().0
}
