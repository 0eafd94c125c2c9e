//! The broker role's life: register, load, follow the metadata, serve; and the way back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ottla_commit_log::StorageError;
use ottla_metadata::{MetadataChanges, MetadataImage};
use ottla_model::{BrokerEpoch, ConfigResourceType};
use ottla_transport::AcceptLimits;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::Broker;
use super::background::Background;
use super::cleaner::Cleaner;
use super::lifecycle::{BrokerLifecycle, LifecycleError, Registration};
use super::reconcile::Reconciler;
use crate::controller::{ControllerError, ControllerHandle};
use crate::loops::{self, Loop};
use crate::metadata::{MetadataHandle, Publisher};

/// How long leaders may take to move away when the node stops.
const CONTROLLED_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error(transparent)]
    Handle(#[from] ControllerError),
}

impl StartError {
    /// Whether it is only that the quorum's thread has ended.
    pub fn is_stopping(&self) -> bool {
        matches!(
            self,
            Self::Handle(ControllerError::Stopping)
                | Self::Lifecycle(LifecycleError::Controller(ControllerError::Stopping))
        )
    }
}

/// A broker that is part of its cluster.
pub struct BrokerRole {
    broker: Arc<Broker>,
    lifecycle: BrokerLifecycle,
    reconciler: Arc<Mutex<Reconciler>>,
    background: Option<(mpsc::UnboundedSender<()>, Loop)>,
}

/// Tells the broker of new images.
struct BrokerPublisher {
    reconciler: Arc<Mutex<Reconciler>>,
    broker: Arc<Broker>,
    accept_limits: Arc<ArcSwap<AcceptLimits>>,
}

impl Publisher for BrokerPublisher {
    fn publish(&mut self, changes: &MetadataChanges, _: &MetadataImage, image: &Arc<MetadataImage>) {
        self.reconciler.lock().apply(image, changes);
        if changes.configs.iter().any(|resource| resource.kind == ConfigResourceType::Broker) {
            let layers = image.configs.layers(self.broker.node_id, self.broker.config.static_broker.clone());
            self.accept_limits.store(Arc::new(crate::network::accept_limits(&layers)));
        }
    }
}

impl BrokerRole {
    /// Registers, loads the logs by what the metadata says of them, and is unfenced: clients may be let in when it
    /// returns. Waits for a controller as long as the settings allow.
    pub async fn start(
        broker: &Arc<Broker>,
        mut registration: Registration,
        metadata: &MetadataHandle,
        publishing: &ControllerHandle,
        accept_limits: Arc<ArcSwap<AcceptLimits>>,
    ) -> Result<Self, StartError> {
        registration.previous_epoch = previous_epoch(broker);
        let lifecycle = BrokerLifecycle::new(
            &broker.config,
            broker.controller.clone(),
            metadata.clone(),
            Arc::clone(&broker.log_dirs),
            Arc::clone(&broker.session),
        );
        // Before anything is loaded: from here on the image is not older than this process.
        lifecycle.register(registration).await?;
        let (reconciler, loaded) = loops::run_long_here(|| Reconciler::load(broker, &broker.image()))?;
        let reconciler = Arc::new(Mutex::new(reconciler));
        broker.log_dir_moves.serve(&reconciler);
        let publisher = BrokerPublisher {
            reconciler: Arc::clone(&reconciler),
            broker: Arc::clone(broker),
            accept_limits,
        };
        publishing.add_publisher(Box::new(publisher)).await?;
        lifecycle.unfence().await?;
        reconciler.lock().resume_moves();
        let alive = lifecycle.clone();
        tokio::spawn(async move { alive.keep_alive().await });
        let background = Some(start_background(broker));
        for dir in broker.online_dirs() {
            info!("data in {}", absolute(dir.dir.path().to_owned()).display());
        }
        info!(
            "{} partitions loaded{}",
            loaded.logs,
            if loaded.clean || loaded.logs == 0 {
                String::new()
            } else {
                format!(" after a crash, {} MiB looked through", loaded.bytes_scanned >> 20)
            }
        );
        Ok(Self { broker: Arc::clone(broker), lifecycle, reconciler, background })
    }

    /// Says why the broker cannot go on.
    pub fn fault(&self) -> watch::Receiver<Option<String>> {
        self.broker.log_dirs.fault()
    }

    /// Lets leaders move elsewhere, while clients and followers are still served.
    pub async fn leave(&self) {
        // Members wait for each other in requests that may take minutes.
        self.broker.groups.stop();
        let moved =
            tokio::time::timeout(CONTROLLED_SHUTDOWN_TIMEOUT, self.lifecycle.controlled_shutdown()).await;
        if !matches!(moved, Ok(Ok(()))) {
            warn!("the controller did not let the broker go in time");
        }
    }

    /// Ends what runs beside the requests.
    pub async fn stop_background(&mut self) {
        if let Some((stop, running)) = self.background.take() {
            drop(stop);
            running.ended().await;
        }
    }

    /// Closes the logs, and says on disk that they are whole. No image may come any more.
    pub async fn close(self) {
        self.broker.log_dir_moves.stop().await;
        let epoch = self.lifecycle.epoch();
        let closed = loops::run_long(move || self.reconciler.lock().close(epoch)).await;
        if let Ok(Err(error)) = closed {
            error!(%error, "a log could not be closed cleanly; the next start will recover it");
        }
    }
}

/// The epoch at which the broker stopped cleanly, if all directories of `log.dirs` are there and say the same.
fn previous_epoch(broker: &Broker) -> BrokerEpoch {
    // One that cannot be read says nothing; that it is offline is found when its logs are loaded.
    let mut epochs = broker.dirs.iter().map(|dir| dir.dir.clean_marker().ok().flatten());
    let first = epochs.next().flatten().filter(|_| !broker.log_dirs.any_offline());
    if epochs.all(|epoch| epoch == first) { first.unwrap_or(BrokerEpoch::NONE) } else { BrokerEpoch::NONE }
}

fn start_background(broker: &Arc<Broker>) -> (mpsc::UnboundedSender<()>, Loop) {
    let (stop, stopped) = mpsc::unbounded_channel();
    let (stop_cleaner, cleaner_stopped) = mpsc::unbounded_channel();
    let background = Background::new(broker);
    let running = loops::spawn("ottla-background", async move {
        background.run(stopped).await;
        drop(stop_cleaner);
    });
    let cleaner = Cleaner::new(broker);
    // Nobody waits for it: a cleaning that has not ended when its log is closed leaves nothing behind.
    loops::spawn("ottla-cleaner", cleaner.run(cleaner_stopped)).expect("start the cleaner's thread");
    (stop, running.expect("start the background thread"))
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
