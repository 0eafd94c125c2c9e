//! What this node knows of the cluster: committed records become images, images are published.
//!
//! Owns the newest image and the order in which it reaches the node's parts. Runs on the quorum's thread. Must not know
//! where records come from, or who decides.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_metadata::{MetadataChanges, MetadataDelta, MetadataImage, Provenance, ReplayError, WriteOptions};
use ottla_model::{Millis, Offset};
use ottla_protocol::records::metadata::MetadataRecord;
use tokio::sync::watch;

use crate::quorum::Committed;
use crate::quorum::snapshot::SnapshotId;

/// Acts on new metadata. Called on the quorum's thread, in the order of registration, before the requests that caused
/// the change are answered: it must not block for long.
pub trait Publisher: Send {
    /// `changes` names everything in which `image` differs from `before` (and may name more).
    fn publish(&mut self, changes: &MetadataChanges, before: &MetadataImage, image: &Arc<MetadataImage>);
}

/// The newest image, for everyone. Cheap to clone; a request takes one image and keeps to it.
#[derive(Clone, Debug)]
pub struct MetadataHandle {
    image: Arc<ArcSwap<MetadataImage>>,
    offset: watch::Receiver<Offset>,
}

impl MetadataHandle {
    /// A handle on an image that never changes, for tests.
    pub fn fixed(image: MetadataImage) -> Self {
        let (_, offset) = watch::channel(image.provenance.offset);
        Self { image: Arc::new(ArcSwap::from_pointee(image)), offset }
    }

    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.load_full()
    }

    /// The cell in which the newest image stands.
    pub fn shared(&self) -> Arc<ArcSwap<MetadataImage>> {
        Arc::clone(&self.image)
    }

    /// As [`Self::image`], without touching the reference count; for a short look.
    pub fn peek(&self) -> arc_swap::Guard<Arc<MetadataImage>> {
        self.image.load()
    }

    /// Offset of the last record in the newest image.
    pub fn offset(&self) -> Offset {
        *self.offset.borrow()
    }

    /// Waits until an image that contains `offset` has been published. Returns at once if the node is stopping.
    pub async fn wait_for(&self, offset: Offset) {
        // An error means that there will be no newer image.
        let _ = self.offset.clone().wait_for(|published| *published >= offset).await;
    }

    /// Waits for the next image.
    pub async fn changed(&mut self) {
        if self.offset.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Builds the images.
pub struct MetadataLoader {
    image: Arc<MetadataImage>,
    /// Records since `image`, while a metadata transaction is open or before they are published.
    delta: Option<MetadataDelta>,
    last: Provenance,
    shared: Arc<ArcSwap<MetadataImage>>,
    offset: watch::Sender<Offset>,
    publishers: Vec<Box<dyn Publisher>>,
}

impl MetadataLoader {
    pub fn new() -> (Self, MetadataHandle) {
        let image = Arc::new(MetadataImage::default());
        let shared = Arc::new(ArcSwap::new(image.clone()));
        let (sender, receiver) = watch::channel(Offset::NONE);
        let handle = MetadataHandle { image: shared.clone(), offset: receiver };
        let last = image.provenance;
        (Self { image, delta: None, last, shared, offset: sender, publishers: Vec::new() }, handle)
    }

    /// Adds one who acts on images; it is told of everything that is known by now.
    pub fn add_publisher(&mut self, mut publisher: Box<dyn Publisher>) -> Result<(), ReplayError> {
        let nothing = MetadataImage::default();
        let mut delta = MetadataDelta::new(&nothing);
        let options = WriteOptions { metadata_version: self.image.metadata_version() };
        for record in self.image.write(&options) {
            delta.replay(&record)?;
        }
        publisher.publish(delta.changes(), &nothing, &self.image);
        self.publishers.push(publisher);
        Ok(())
    }

    /// The newest published image.
    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// Takes a snapshot in place of everything so far. Published with what follows.
    pub fn load_snapshot(
        &mut self,
        id: SnapshotId,
        timestamp: Millis,
        records: &[MetadataRecord],
    ) -> Result<(), ReplayError> {
        let mut delta = MetadataDelta::from_snapshot(&self.image);
        for record in records {
            delta.replay(record)?;
        }
        delta.finish_snapshot();
        self.last = Provenance { offset: Offset(id.end.0 - 1), epoch: id.epoch.0, time: timestamp };
        self.delta = Some(delta);
        Ok(())
    }

    /// Takes committed batches and publishes one image with all of them, and with a snapshot loaded before.
    pub fn load(&mut self, batches: &[Committed]) -> Result<(), ReplayError> {
        if let Some(last) = batches.last() {
            let delta = self.delta.get_or_insert_with(|| MetadataDelta::new(&self.image));
            for record in batches.iter().flat_map(|batch| &batch.records) {
                delta.replay(record)?;
            }
            self.last =
                Provenance { offset: Offset(last.end.0 - 1), epoch: last.epoch.0, time: last.timestamp };
        }
        self.publish();
        Ok(())
    }

    /// Whether a metadata transaction is open: what follows the newest image is not published yet.
    pub fn in_transaction(&self) -> bool {
        self.delta.as_ref().is_some_and(MetadataDelta::in_transaction)
    }

    fn publish(&mut self) {
        let Some(delta) = self.delta.take_if(|delta| !delta.in_transaction()) else { return };
        let before = std::mem::replace(&mut self.image, Arc::new(delta.apply(self.last)));
        self.shared.store(self.image.clone());
        if *delta.changes() != MetadataChanges::default() {
            for publisher in &mut self.publishers {
                publisher.publish(delta.changes(), &before, &self.image);
            }
        }
        self.offset.send_replace(self.image.provenance.offset);
    }
}
