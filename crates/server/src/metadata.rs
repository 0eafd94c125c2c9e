//! What this node knows of the cluster: committed records become images, images are published.
//!
//! Owns the newest image and the order in which it reaches the node's parts. Images are built on the quorum's thread
//! and acted on by another: a thousand logs to be made must not keep the quorum from answering. Must not know where
//! records come from, or who decides.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_metadata::{MetadataChanges, MetadataDelta, MetadataImage, Provenance, ReplayError, WriteOptions};
use ottla_model::{Millis, Offset};
use ottla_protocol::records::metadata::MetadataRecord;
use tokio::sync::{mpsc, oneshot};

use crate::loops::{self, Loop};
use crate::quorum::Committed;
use crate::quorum::snapshot::SnapshotId;
use crate::watch;

/// Acts on new metadata. Called on the publishing thread, in the order of registration, before the requests that caused
/// the change are answered.
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

/// Builds the images, and has them published.
pub struct MetadataLoader {
    image: Arc<MetadataImage>,
    /// Records since `image`, while a metadata transaction is open or before they are published.
    delta: Option<MetadataDelta>,
    last: Provenance,
    shared: Arc<ArcSwap<MetadataImage>>,
    offset: watch::Sender<Offset>,
    /// There as soon as somebody acts on images.
    publishing: Option<Publishing>,
}

/// The thread on which images are acted on.
struct Publishing {
    tasks: mpsc::UnboundedSender<Task>,
    thread: Loop,
    /// Of the last image that was handed over.
    newest: Offset,
}

enum Task {
    Image { changes: Box<MetadataChanges>, before: Arc<MetadataImage>, image: Arc<MetadataImage> },
    Add { publisher: Box<dyn Publisher>, image: Arc<MetadataImage>, added: oneshot::Sender<()> },
}

impl Publishing {
    /// `published` is told the offset of every image when all have acted on it.
    fn start(
        shared: Arc<ArcSwap<MetadataImage>>,
        published: impl Fn(Offset) + Send + 'static,
    ) -> io::Result<Self> {
        let (tasks, mut inbox) = mpsc::unbounded_channel();
        let publish = async move {
            let mut publishers: Vec<Box<dyn Publisher>> = Vec::new();
            while let Some(task) = inbox.recv().await {
                match task {
                    Task::Image { changes, before, image } => {
                        shared.store(Arc::clone(&image));
                        for publisher in &mut publishers {
                            publisher.publish(&changes, &before, &image);
                        }
                        published(image.provenance.offset);
                    }
                    Task::Add { mut publisher, image, added } => {
                        let nothing = MetadataImage::default();
                        publisher.publish(&everything(&image), &nothing, &image);
                        publishers.push(publisher);
                        // Whoever waited may have gone.
                        let _ = added.send(());
                    }
                }
            }
        };
        let thread = loops::spawn("metadata", publish)?;
        Ok(Self { tasks, thread, newest: Offset::NONE })
    }

    fn send(&self, task: Task) {
        self.tasks.send(task).expect("invariant: the publishing thread ends after the loader");
    }
}

/// What an image is beyond nothing.
fn everything(image: &MetadataImage) -> MetadataChanges {
    let mut delta = MetadataDelta::new(&MetadataImage::default());
    for record in image.write(&WriteOptions { metadata_version: image.metadata_version() }) {
        delta.replay(&record).expect("invariant: what an image writes can be replayed");
    }
    delta.into_changes()
}

impl MetadataLoader {
    pub fn new() -> (Self, MetadataHandle) {
        let image = Arc::new(MetadataImage::default());
        let shared = Arc::new(ArcSwap::new(image.clone()));
        let (sender, receiver) = watch::channel(Offset::NONE);
        let handle = MetadataHandle { image: shared.clone(), offset: receiver };
        let last = image.provenance;
        (Self { image, delta: None, last, shared, offset: sender, publishing: None }, handle)
    }

    /// Adds one who acts on images. It is told of everything that is known by now, and `added` when it has acted on
    /// that. `published` must lead to [`Self::published`]. To be called inside the node's runtime.
    pub fn add_publisher(
        &mut self,
        publisher: Box<dyn Publisher>,
        added: oneshot::Sender<()>,
        published: impl Fn(Offset) + Send + 'static,
    ) -> io::Result<()> {
        if self.publishing.is_none() {
            self.publishing = Some(Publishing::start(Arc::clone(&self.shared), published)?);
        }
        if let Some(publishing) = &self.publishing {
            publishing.send(Task::Add { publisher, image: Arc::clone(&self.image), added });
        }
        Ok(())
    }

    /// Everybody has acted on the image of this offset.
    pub fn published(&mut self, offset: Offset) {
        self.offset.send_replace(offset);
    }

    /// How much of what is committed below `high_watermark` everybody has acted on.
    pub fn published_end(&self, high_watermark: Offset) -> Offset {
        match self.is_publishing() {
            true => Offset(self.offset.borrow().0 + 1).min(high_watermark),
            false => high_watermark,
        }
    }

    fn is_publishing(&self) -> bool {
        self.publishing.as_ref().is_some_and(|publishing| publishing.newest > *self.offset.borrow())
    }

    /// Has everybody act on what was loaded; there are no images after this.
    pub async fn close(&mut self) {
        if let Some(Publishing { tasks, thread, .. }) = self.publishing.take() {
            drop(tasks);
            thread.ended().await;
        }
    }

    /// The newest image.
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
        delta.finish_snapshot()?;
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
        let image = Arc::new(delta.apply(self.last));
        let before = std::mem::replace(&mut self.image, Arc::clone(&image));
        let (offset, changes, is_publishing) =
            (image.provenance.offset, delta.into_changes(), self.is_publishing());
        match &mut self.publishing {
            // What changes nothing, as most does while nothing happens, wakes nobody.
            Some(publishing) if is_publishing || !changes.is_empty() => {
                publishing.newest = offset;
                publishing.send(Task::Image { changes: Box::new(changes), before, image });
            }
            _ => {
                self.shared.store(image);
                self.published(offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use ottla_model::LeaderEpoch;
    use ottla_protocol::records::metadata::{NoOpRecord, ProducerIdsRecord};

    use super::*;

    struct Slow {
        seen: mpsc::Sender<i64>,
        go_on: mpsc::Receiver<()>,
    }

    impl Publisher for Slow {
        fn publish(&mut self, _: &MetadataChanges, _: &MetadataImage, image: &Arc<MetadataImage>) {
            self.seen.send(image.producer_ids.next_producer_id).unwrap();
            self.go_on.recv().unwrap();
        }
    }

    fn batch(offset: i64, record: MetadataRecord) -> [Committed; 1] {
        let (base, end) = (Offset(offset), Offset(offset + 1));
        let (epoch, timestamp) = (LeaderEpoch(1), Millis(0));
        [Committed { base, end, epoch, timestamp, records: vec![record], size_bytes: 1 }]
    }

    fn ids(next_producer_id: i64) -> MetadataRecord {
        ProducerIdsRecord { broker_id: 1, broker_epoch: 1, next_producer_id }.into()
    }

    /// Who acts slowly holds up the answers to what he has not acted on, and nothing else.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn images_are_built_while_others_act_on_them_and_published_in_order() {
        let (mut loader, handle) = MetadataLoader::new();
        loader.load(&batch(0, ids(1000))).unwrap();
        assert_eq!((handle.offset(), loader.published_end(Offset(1))), (Offset(0), Offset(1)));
        let (seen, saw) = mpsc::channel();
        let (proceed, go_on) = mpsc::channel();
        let (done, published) = mpsc::channel();
        let (added, is_added) = oneshot::channel();
        let publisher = Box::new(Slow { seen, go_on });
        loader.add_publisher(publisher, added, move |offset| done.send(offset).unwrap()).unwrap();
        assert_eq!(saw.recv(), Ok(1000));
        proceed.send(()).unwrap();
        is_added.await.unwrap();

        loader.load(&batch(1, ids(2000))).unwrap();
        assert_eq!(saw.recv(), Ok(2000));
        // What changes nothing waits for its turn too.
        loader.load(&batch(2, NoOpRecord {}.into())).unwrap();
        assert_eq!(loader.image().producer_ids.next_producer_id, 2000);
        assert_eq!((handle.offset(), loader.published_end(Offset(3))), (Offset(0), Offset(1)));
        proceed.send(()).unwrap();
        for offset in [1, 2] {
            if offset == 2 {
                assert_eq!(saw.recv(), Ok(2000));
                proceed.send(()).unwrap();
            }
            assert_eq!(published.recv(), Ok(Offset(offset)));
            loader.published(Offset(offset));
        }
        assert_eq!((handle.offset(), loader.published_end(Offset(3))), (Offset(2), Offset(3)));
        // With nobody at work it passes at once.
        loader.load(&batch(3, NoOpRecord {}.into())).unwrap();
        assert_eq!((handle.offset(), loader.published_end(Offset(4))), (Offset(3), Offset(4)));
        loader.close().await;
    }
}
