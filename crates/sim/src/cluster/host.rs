//! A host: a disk, a clock, and while it is up a runtime with the node that ships.

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ottla_commit_log::SimDisk;
use ottla_commit_log::disk::CrashImage;
use ottla_model::{Millis, Uuid};
use ottla_server::api::RequestHook;
use ottla_server::clock::{self, Clock};
use ottla_server::config::{Properties, ServerConfig};
use ottla_server::environment::Environment;
use ottla_server::node::{Node, RunningNode};
use ottla_server::storage::{self, FormatOptions, Quorum};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::OFFSETS_PARTITIONS;
use super::net::Net;
use super::tamper::Tamper;
use crate::node::{CLUSTER, CONTROLLER_PORT, directory_id, initial_controller};
use crate::random::Random;
use crate::sabotage::{self, Sabotage};

pub const CLIENT_PORT: u16 = 9092;
/// Wall time at the beginning.
pub const BEGIN_MS: i64 = 1_700_000_000_000;

/// A wall clock that the world moves, and how long its disk's syncs take.
struct WallClock {
    now: AtomicI64,
    sync_ms_max: i64,
    random: Mutex<Random>,
}

impl Clock for WallClock {
    fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::Relaxed))
    }

    fn sync_time(&self) -> Duration {
        match self.sync_ms_max {
            0 => Duration::ZERO,
            max => Duration::from_millis(lock(&self.random).below(max) as u64),
        }
    }
}

/// A runtime whose time is the world's.
pub struct Driven {
    runtime: Runtime,
    /// The runtime's clock stood there when the world's stood at `since_ms`.
    origin: Instant,
    since_ms: u64,
    clock: Arc<WallClock>,
    pub skew_ms: i64,
}

impl Driven {
    pub fn new(now_ms: u64, sync_ms_max: i64, seed: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime of one thread");
        let origin = runtime.block_on(async { Instant::now() });
        let (now, random) = (AtomicI64::new(BEGIN_MS + now_ms as i64), Mutex::new(Random::new(seed)));
        let clock = Arc::new(WallClock { now, sync_ms_max, random });
        Self { runtime, origin, since_ms: now_ms, clock, skew_ms: 0 }
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Runs everything that can run until the world's time is `now_ms`.
    pub fn run_until(&self, now_ms: u64) {
        self.clock.now.store(BEGIN_MS + now_ms as i64 + self.skew_ms, Ordering::Relaxed);
        clock::set_for_thread(Some(self.clock.clone()));
        let until = self.origin + Duration::from_millis(now_ms - self.since_ms);
        self.runtime.block_on(async {
            // A pause is noticed at its end and not lived through.
            let behind = until - Instant::now();
            if behind > Duration::from_millis(1) {
                tokio::time::advance(behind - Duration::from_millis(1)).await;
            }
            tokio::time::sleep_until(until).await;
        });
    }

    /// Everything in it is gone.
    pub fn end(self) {
        clock::set_for_thread(Some(self.clock.clone()));
        drop(self.runtime);
    }
}

/// What became of the node's start.
#[derive(Default)]
pub enum Life {
    #[default]
    Starting,
    Running(Arc<Node>),
    /// Somebody asked it to, and it has.
    Stopped,
    Ended(String),
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running(_) => "running",
            Self::Stopped => "stopped",
            Self::Ended(_) => "ended",
        })
    }
}

pub type SharedLife = Arc<Mutex<Life>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The node, while it runs.
pub fn node(life: &SharedLife) -> Option<Arc<Node>> {
    match &*lock(life) {
        Life::Running(node) => Some(Arc::clone(node)),
        _ => None,
    }
}

pub struct Host {
    pub id: i32,
    pub disk: SimDisk,
    config: ServerConfig,
    net: Net,
    sabotage: Option<Sabotage>,
    sync_ms_max: i64,
    /// Of each life's syncs.
    seeds: Random,
    sent_arrives: bool,
    up: Option<Driven>,
    life: SharedLife,
    stopping: Arc<Notify>,
    /// Its node was asked to stop.
    is_stopping: bool,
    /// The disk fails, or will; until the next start.
    pub disk_is_broken: bool,
    /// One directory of several fails, until the next start: no reason to end.
    pub dir_is_broken: bool,
    /// Nothing of it runs until then.
    pub paused_until: u64,
    pub skew_ms: i64,
}

/// Of a controller's directory with the metadata log, whose disk was replaced so many times.
pub fn replaced_directory_id(id: i32, times: u32) -> Uuid {
    match times {
        0 => directory_id(id),
        times => Uuid::from_u128((3000 + id as u128) << 64 | u128::from(times)),
    }
}

fn second_directory_id(id: i32) -> Uuid {
    Uuid::from_u128((2000 + id as u128) << 64 | 7)
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Layout {
    pub brokers: RangeInclusive<i32>,
    /// The brokers themselves, or hosts of their own.
    pub controllers: RangeInclusive<i32>,
    /// The release whose feature levels it begins with; the newest's if none.
    pub release: Option<&'static str>,
    /// Whether the voters are those of the settings (`kraft.version` 0) and not of the metadata log.
    pub static_voters: bool,
    pub log_dirs: &'static [&'static str],
    /// Whether every record is synced before it counts: then no number of power losses may lose one.
    pub synced: bool,
    /// How long a sync of the metadata log or of a partition takes at most.
    pub sync_ms_max: i64,
    /// Which of them take how long.
    pub sync_seed: u64,
    /// Whether what a host has sent arrives though it has crashed.
    pub sent_arrives: bool,
    /// Whether controllers lose their disks, if these hold nothing but the metadata log, and voters can be changed.
    pub replaces_controllers: bool,
}

impl Layout {
    pub fn hosts(&self) -> RangeInclusive<i32> {
        *self.brokers.start()..=*self.brokers.end().max(self.controllers.end())
    }

    pub fn replaces_controllers(&self) -> bool {
        self.replaces_controllers && !self.static_voters && self.controllers != self.brokers
    }
}

fn config(id: i32, layout: &Layout) -> ServerConfig {
    let servers = |prefix: fn(i32) -> String| {
        let servers: Vec<String> = layout
            .controllers
            .clone()
            .map(|id| format!("{}node{id}:{CONTROLLER_PORT}", prefix(id)))
            .collect();
        servers.join(",")
    };
    let quorum = match layout.static_voters {
        true => format!("controller.quorum.voters={}", servers(|id| format!("{id}@"))),
        false => format!("controller.quorum.bootstrap.servers={}", servers(|_| String::new())),
    };
    let (client, controller) =
        (format!("PLAINTEXT://node{id}:{CLIENT_PORT}"), format!("CONTROLLER://node{id}:{CONTROLLER_PORT}"));
    let (roles, listeners) = match (layout.brokers.contains(&id), layout.controllers.contains(&id)) {
        (true, true) => ("broker,controller", format!("{client},{controller}")),
        (true, false) => ("broker", client),
        _ => ("controller", controller),
    };
    let text = format!(
        "node.id={id}\nprocess.roles={roles}\nlisteners={listeners}\n\
         controller.listener.names=CONTROLLER\n{quorum}\nlog.dirs={}\n\
         broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\nreplica.lag.time.max.ms=3000\n\
         default.replication.factor=3\nmin.insync.replicas=2\n\
         offsets.topic.num.partitions={OFFSETS_PARTITIONS}\n\
         offsets.topic.replication.factor=3\nnum.recovery.threads.per.data.dir=1\nlog.cleaner.threads=1\n\
         replica.fetch.wait.max.ms=200\nrequest.timeout.ms=5000\nlog.roll.ms=8000\n\
         log.cleaner.backoff.ms=1000\ngroup.initial.rebalance.delay.ms=500\n\
         metadata.log.max.record.bytes.between.snapshots=20000\n{}",
        layout.log_dirs.join(","),
        if layout.synced { "log.flush.interval.messages=1\n" } else { "" }
    );
    let properties = Properties::parse("sim", &text).expect("the settings are well-formed");
    ServerConfig::from_properties(&properties).expect("the settings are valid").0
}

fn format(
    disk: &SimDisk,
    config: &ServerConfig,
    quorum: Quorum,
    release_version: Option<String>,
    directory: Uuid,
) {
    // The directory with the metadata log is formatted last; an initial controller's has its id from the quorum.
    let others = config.log_dirs.iter().skip(1).map(|_| second_directory_id(config.node_id.0));
    let mut ids = others.chain([directory]);
    let options =
        FormatOptions { cluster_id: CLUSTER.into(), quorum, release_version, ..FormatOptions::default() };
    let next_id = || ids.next().expect("an id for each directory");
    storage::format(disk, config, &options, Millis(BEGIN_MS), next_id)
        .expect("a fresh disk can be formatted");
}

impl Host {
    pub fn format(id: i32, layout: &Layout, net: &Net, sabotage: Option<Sabotage>) -> Self {
        let disk = SimDisk::new();
        let config = config(id, layout);
        let quorum = match layout.controllers.contains(&id) && !layout.static_voters {
            true => Quorum::Initial(layout.controllers.clone().map(initial_controller).collect()),
            false => Quorum::Configured,
        };
        format(&disk, &config, quorum, layout.release.map(str::to_owned), directory_id(id));
        Self {
            id,
            disk,
            config,
            net: net.clone(),
            sabotage,
            sync_ms_max: layout.sync_ms_max,
            seeds: Random::new(layout.sync_seed ^ id as u64),
            sent_arrives: layout.sent_arrives,
            up: None,
            life: Arc::default(),
            stopping: Arc::default(),
            is_stopping: false,
            disk_is_broken: false,
            dir_is_broken: false,
            paused_until: 0,
            skew_ms: 0,
        }
    }

    /// An empty disk in place of the one that it had: a controller that is to join the quorum again, as
    /// [`replaced_directory_id`].
    pub fn replace_disk(&mut self, times: u32) {
        self.disk = SimDisk::new();
        format(&self.disk, &self.config, Quorum::None, None, replaced_directory_id(self.id, times));
    }

    pub fn start(&mut self, now_ms: u64) {
        let mut driven = Driven::new(now_ms, self.sync_ms_max, self.seeds.number());
        driven.skew_ms = self.skew_ms;
        (self.life, self.stopping, self.is_stopping) = Default::default();
        let disk = sabotage::disk(&self.disk, self.sabotage);
        let hook = self
            .sabotage
            .map(|sabotage| Arc::new(Tamper::new(sabotage, Arc::clone(&self.life))) as Arc<dyn RequestHook>);
        let environment = Environment { disk, network: self.net.of(self.id), hook, ..Environment::default() };
        let (config, life) = (self.config.clone(), Arc::clone(&self.life));
        let stopping = Arc::clone(&self.stopping);
        let set = move |now| *lock(&life) = now;
        driven.spawn(async move {
            match RunningNode::start_in(environment, config).await {
                Ok(running) => {
                    set(Life::Running(Arc::clone(&running.node)));
                    let failed = tokio::select! {
                        biased;
                        reason = running.failed() => Some(reason),
                        () = stopping.notified() => None,
                    };
                    match failed {
                        Some(reason) => set(Life::Ended(reason)),
                        None => {
                            running.stop().await;
                            set(Life::Stopped);
                        }
                    }
                }
                Err(error) => set(Life::Ended(format!("cannot start: {error}"))),
            }
        });
        self.up = Some(driven);
    }

    pub fn runs_on_two_dirs(&self) -> bool {
        self.config.log_dirs.len() > 1 && self.node().is_some()
    }

    pub fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// The node, once it has started.
    pub fn node(&self) -> Option<Arc<Node>> {
        node(&self.life).filter(|_| self.is_up() && !self.is_stopping)
    }

    /// Why it runs no more, though nobody has ended it.
    pub fn ended(&self) -> Option<String> {
        match &*lock(&self.life) {
            Life::Ended(reason) if self.is_up() => Some(reason.clone()),
            _ => None,
        }
    }

    /// Asks the node to stop, as an operator does.
    pub fn stop(&mut self) {
        self.is_stopping = true;
        self.stopping.notify_one();
    }

    pub fn has_stopped(&self) -> bool {
        self.is_up() && matches!(*lock(&self.life), Life::Stopped)
    }

    pub fn run_until(&self, now_ms: u64) {
        if let Some(driven) = &self.up
            && self.paused_until <= now_ms
        {
            self.disk.set_clock_ms(BEGIN_MS + now_ms as i64 + self.skew_ms);
            driven.run_until(now_ms);
        }
    }

    /// The process is gone at once; of what it wrote the image is left.
    pub fn crash(&mut self, image: CrashImage) {
        self.net.crash(self.id, self.sent_arrives);
        let left = self.disk.crash(image);
        *lock(&self.life) = Life::Starting;
        if let Some(driven) = self.up.take() {
            driven.end();
        }
        left.heal();
        (self.disk, self.disk_is_broken, self.dir_is_broken) = (left, false, false);
        self.paused_until = 0;
    }
}
