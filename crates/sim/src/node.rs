//! A node: a disk, and while it runs the loop that ships over it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use ottla_commit_log::disk::CrashImage;
use ottla_commit_log::{FileCache, LogContext, SimDisk, TailBudget};
use ottla_model::{Millis, NodeId, Uuid};
use ottla_server::config::{Properties, ServerConfig};
use ottla_server::controller::{Options, Stepped};
use ottla_server::rpc::RpcNetwork;
use ottla_server::storage::{self, FormatOptions, InitialController, Quorum};

use crate::sabotage::{self, Sabotage};
use crate::world::Answer;

pub const CLUSTER: &str = "DFF4aVFKT9OXlxhwrJUsDg";
pub const CONTROLLER_PORT: u16 = 9093;
const DIR: &str = "/data";

/// An answer on its way out of a node.
pub struct Asked {
    /// The number under which the asker waits.
    pub number: u64,
    pub from: i32,
    answer: Pin<Box<dyn Future<Output = Answer>>>,
}

pub struct Node {
    pub id: i32,
    pub disk: SimDisk,
    config: ServerConfig,
    sabotage: Option<Sabotage>,
    /// There while the process lives.
    pub process: Option<Stepped>,
    /// Does nothing until then, and knows nothing of it (SIGSTOP).
    pub paused_until: Millis,
    /// What its clock is ahead of the others'.
    pub skew_ms: i64,
    /// Its disk was made to fail: an end is no surprise.
    pub disk_is_broken: bool,
    /// Number of the process: what was for an earlier one is void.
    pub life: u64,
    pub asked: Vec<Asked>,
    pub tick_at: Millis,
}

/// Of a node's directory with the metadata log.
pub fn directory_id(id: i32) -> Uuid {
    Uuid::from_u128((1000 + id as u128) << 64 | 7)
}

pub fn initial_controller(id: i32) -> InitialController {
    let (host, directory) = (format!("node{id}"), directory_id(id));
    InitialController { id: NodeId(id), host, port: CONTROLLER_PORT, directory }
}

fn config(id: i32, controllers: i32) -> ServerConfig {
    let servers: Vec<String> = (1..=controllers).map(|id| format!("node{id}:{CONTROLLER_PORT}")).collect();
    let role = match id <= controllers {
        true => format!("process.roles=controller\nlisteners=CONTROLLER://node{id}:9093"),
        false => format!("process.roles=broker\nlisteners=PLAINTEXT://node{id}:9092"),
    };
    let text = format!(
        "node.id={id}\n{role}\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers={}\nlog.dirs={DIR}\n\
         metadata.log.max.record.bytes.between.snapshots=3000\nmetadata.max.retention.bytes=20000\n\
         internal.metadata.log.segment.bytes=30000\n",
        servers.join(",")
    );
    let properties = Properties::parse("sim", &text).expect("the settings are well-formed");
    ServerConfig::from_properties(&properties).expect("the settings are valid").0
}

impl Node {
    /// Formats the node's disk. Nodes behind the controllers are brokers; the first controllers are voters, the others
    /// may become it.
    pub fn format(id: i32, controllers: i32, voters: i32, sabotage: Option<Sabotage>) -> Self {
        let disk = SimDisk::new();
        let config = config(id, controllers);
        let quorum = match id {
            _ if id <= voters => Quorum::Initial((1..=voters).map(initial_controller).collect()),
            _ if id <= controllers => Quorum::None,
            _ => Quorum::Configured,
        };
        let options = FormatOptions { cluster_id: CLUSTER.into(), quorum, ..FormatOptions::default() };
        storage::format(&disk, &config, &options, Millis(1000), || directory_id(id))
            .expect("a fresh disk can be formatted");
        Self {
            id,
            disk,
            config,
            sabotage,
            process: None,
            paused_until: Millis(0),
            skew_ms: 0,
            disk_is_broken: false,
            life: 0,
            asked: Vec::new(),
            tick_at: Millis::MAX,
        }
    }

    pub fn start(&mut self, now: Millis, seed: u64) -> Result<(), String> {
        self.life += 1;
        (self.tick_at, self.paused_until) = (Millis::MAX, Millis(0));
        self.disk.set_clock_ms(now.0);
        let files = FileCache::new(sabotage::disk(&self.disk, self.sabotage), 100);
        let context = LogContext { files, tails: TailBudget::new(1 << 20) };
        let directories = storage::open(&context, &self.config, || directory_id(self.id));
        let directories = directories.map_err(|error| error.to_string())?;
        let options = Options {
            config: &self.config,
            directories: &directories,
            incarnation: Uuid::from_u128(u128::from(seed)),
            seed: [seed, seed],
            opened_ports: Vec::new(),
            network: RpcNetwork::new(),
        };
        let now = self.clock(now);
        self.process = Some(Stepped::open(&options, now).map_err(|error| error.to_string())?);
        Ok(())
    }

    /// The process is gone at once; of what it wrote the image is left.
    pub fn crash(&mut self, image: CrashImage) {
        self.process = None;
        self.asked.clear();
        self.disk = self.disk.crash(image);
    }

    pub fn runs(&self, now: Millis) -> bool {
        self.process.is_some() && self.paused_until <= now
    }

    /// What this node's clock shows.
    pub fn clock(&self, now: Millis) -> Millis {
        now + self.skew_ms
    }

    /// Puts a question into the node's inbox.
    pub fn ask(&mut self, number: u64, from: i32, answer: Pin<Box<dyn Future<Output = Answer>>>) {
        let mut asked = Asked { number, from, answer };
        // The first poll sends it; nobody answers before the next pass.
        if asked.poll().is_none() {
            self.asked.push(asked);
        }
    }

    /// Answers that have become ready.
    pub fn take_answers(&mut self) -> Vec<(u64, i32, Answer)> {
        let mut ready = Vec::new();
        self.asked.retain_mut(|asked| match asked.poll() {
            Some(answer) => {
                ready.push((asked.number, asked.from, answer));
                false
            }
            None => true,
        });
        ready
    }
}

impl Asked {
    fn poll(&mut self) -> Option<Answer> {
        match self.answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }
}
