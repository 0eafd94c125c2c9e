//! A node of both roles in this process, on temporary directories and free ports, and a client that sends it
//! raw requests.

use bytes::Bytes;
use ottla_commit_log::RealDisk;
use ottla_protocol::{Request, Segment, decode_response, encode_request};
use ottla_server::config::{Properties, ServerConfig};
use ottla_server::node::RunningNode;
use ottla_server::storage;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct TestNode {
    pub running: RunningNode,
    dir: TempDir,
    config: String,
}

fn config_of(text: &str) -> ServerConfig {
    ServerConfig::from_properties(&Properties::parse("test", text).unwrap()).unwrap().0
}

impl TestNode {
    /// Node 1, with `extra` settings.
    pub async fn start(extra: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let text = format!(
            "node.id=1\nprocess.roles=broker,controller\n\
             listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\n\
             controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:9093\n\
             log.dirs={}\n{extra}",
            dir.path().join("data").display()
        );
        let config = config_of(&text);
        assert!(storage::format_if_new(&RealDisk, &config).unwrap());
        Self { running: RunningNode::start(config).await.unwrap(), dir, config: text }
    }

    /// Stops and starts; `meanwhile` finds its directories left alone.
    pub async fn restart(self, meanwhile: impl FnOnce()) -> Self {
        self.running.stop().await;
        meanwhile();
        Self { running: RunningNode::start(config_of(&self.config)).await.unwrap(), ..self }
    }

    /// The log directory.
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// The names of what lies in the log directory.
    pub fn data(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("data")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    pub async fn client(&self) -> Client {
        self.client_of("PLAINTEXT").await
    }

    pub async fn client_of(&self, listener: &str) -> Client {
        let addresses = &self.running.addresses;
        let (_, address) = addresses.iter().find(|(name, _)| name == listener).unwrap();
        Client(TcpStream::connect(address).await.unwrap())
    }
}

/// One connection.
pub struct Client(TcpStream);

impl Client {
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        for segment in encode_request(request, version, 7, Some("test".into())).unwrap() {
            let Segment::Bytes(bytes) = segment else { panic!("a request without files") };
            self.0.write_all(&bytes).await.unwrap();
        }
        let size = self.0.read_i32().await.unwrap();
        let mut frame = vec![0; size as usize];
        self.0.read_exact(&mut frame).await.unwrap();
        let (correlation_id, response) = decode_response::<R>(Bytes::from(frame), version).unwrap();
        assert_eq!(correlation_id, 7);
        response
    }
}
