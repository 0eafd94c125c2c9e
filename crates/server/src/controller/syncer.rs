//! The thread that syncs the metadata log, so that a slow disk keeps nobody from being answered.

use ottla_commit_log::SyncJob;
use tokio::sync::mpsc;

use super::handle::Message;
use crate::loops::{self, Loop};

/// Hands jobs to the thread, which ends when this is dropped.
pub(super) struct Syncer {
    /// No job is under way.
    pub is_idle: bool,
    jobs: mpsc::UnboundedSender<SyncJob>,
    thread: Option<Loop>,
}

impl Syncer {
    /// Outcomes go to `inbox`.
    pub fn spawn(inbox: mpsc::UnboundedSender<Message>) -> std::io::Result<Self> {
        let (jobs, mut to_do) = mpsc::unbounded_channel::<SyncJob>();
        let thread = loops::spawn("metadata-sync", async move {
            while let Some(job) = to_do.recv().await {
                loops::await_sync_time().await;
                // Whoever asked may have ended; it syncs again before it closes the log.
                let _ = inbox.send(Message::Synced(job.run()));
            }
        })?;
        Ok(Self { is_idle: true, jobs, thread: Some(thread) })
    }

    /// Without a thread: the jobs come out of the receiver, and whoever runs them says [`Message::Synced`].
    pub fn by_hand() -> (Self, mpsc::UnboundedReceiver<SyncJob>) {
        let (jobs, to_do) = mpsc::unbounded_channel();
        (Self { is_idle: true, jobs, thread: None }, to_do)
    }

    pub fn start(&mut self, job: SyncJob) {
        self.is_idle = false;
        // Without a thread nobody may be there to take it.
        let _ = self.jobs.send(job);
    }

    /// Ends the thread, with the job under way done.
    pub async fn end(self) {
        let Self { jobs, thread, .. } = self;
        drop(jobs);
        if let Some(thread) = thread {
            thread.ended().await;
        }
    }
}
