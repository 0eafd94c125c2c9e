//! The thread that syncs the metadata log, so that a slow disk keeps nobody from being answered.

use std::sync::mpsc;
use std::thread::JoinHandle;

use ottla_commit_log::SyncJob;

use super::handle::Message;

/// Hands jobs to the thread; ends it, with the job under way done, when dropped.
pub(super) struct Syncer {
    /// No job is under way.
    pub is_idle: bool,
    jobs: Option<mpsc::Sender<SyncJob>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Outcomes go to `inbox`.
    pub fn spawn(inbox: mpsc::Sender<Message>) -> std::io::Result<Self> {
        let (jobs, to_do) = mpsc::channel::<SyncJob>();
        let thread = std::thread::Builder::new().name("metadata-sync".into()).spawn(move || {
            for job in to_do {
                // Whoever asked may have ended; it syncs again before it closes the log.
                let _ = inbox.send(Message::Synced(job.run()));
            }
        })?;
        Ok(Self { is_idle: true, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Without a thread: the jobs come out of the receiver, and whoever runs them says [`Message::Synced`].
    pub fn by_hand() -> (Self, mpsc::Receiver<SyncJob>) {
        let (jobs, to_do) = mpsc::channel();
        (Self { is_idle: true, jobs: Some(jobs), thread: None }, to_do)
    }

    pub fn start(&mut self, job: SyncJob) {
        self.is_idle = false;
        if let Some(jobs) = &self.jobs {
            jobs.send(job).expect("the thread ends after its sender");
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
