//! The controller's thread without a thread: whoever drives it says when it runs and what time it is. It is the loop
//! that ships, so that a simulator of many nodes in one thread shows what the nodes themselves do.

use std::sync::{Arc, Mutex};

use ottla_commit_log::{LogView, SyncJob};
use ottla_model::Millis;
use ottla_raft::{Failure, Outgoing, Raft, RequestId};
use tokio::sync::mpsc;

use super::event_loop::{Aside, ControllerThread, Fault};
use super::handle::{ControllerHandle, Message};
use super::start::{Options, Prepared, StartError, Surroundings, prepare};
use super::syncer::Syncer;
use crate::metadata::MetadataHandle;
use crate::quorum::wire::Reply;

/// A node's quorum and controller. Nothing happens but in [`Self::pass`].
pub struct Stepped {
    thread: ControllerThread,
    /// Its requests are handled by the next pass.
    pub controller: ControllerHandle,
    pub metadata: MetadataHandle,
    inbox: mpsc::UnboundedSender<Message>,
    requests: Arc<Mutex<Vec<Outgoing>>>,
    aside: Arc<Mutex<Vec<Aside>>>,
    syncs: mpsc::UnboundedReceiver<SyncJob>,
}

impl Stepped {
    /// Opens what is on the disk and takes part from now on.
    pub fn open(options: &Options<'_>, now: Millis) -> Result<Self, StartError> {
        let inbox = mpsc::unbounded_channel();
        let sender = inbox.0.clone();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let aside = Arc::new(Mutex::new(Vec::new()));
        let (sent, put_aside) = (Arc::clone(&requests), Arc::clone(&aside));
        let surroundings = Surroundings {
            now,
            inbox,
            send_request: Box::new(move |outgoing| push(&sent, outgoing)),
            run_aside: Box::new(move |work| {
                push(&put_aside, work);
                Ok(())
            }),
        };
        let Prepared { mut thread, controller, metadata } = prepare(options, surroundings)?;
        let (syncer, syncs) = Syncer::by_hand();
        thread.syncer = Some(syncer).filter(|_| options.config.roles.controller);
        Ok(Self { thread, controller, metadata, inbox: sender, requests, aside, syncs })
    }

    /// Handles what was asked and answered since the last pass, and what the time calls for. An error is final.
    pub fn pass(&mut self, now: Millis) -> Result<(), Fault> {
        let first = self.thread.inbox.try_recv().ok();
        self.thread.pass(now, first)?;
        for work in take(&self.aside) {
            work(now);
        }
        Ok(())
    }

    /// When a pass is due though nothing arrived.
    pub fn deadline(&self) -> Millis {
        self.thread.next_deadline()
    }

    /// Requests to other nodes since the last call; each is to be answered by one [`Self::answered`].
    pub fn take_requests(&self) -> Vec<Outgoing> {
        take(&self.requests)
    }

    /// A sync that was ordered and is to be done, now or later, with [`Self::sync`].
    pub fn take_sync(&mut self) -> Option<SyncJob> {
        self.syncs.try_recv().ok()
    }

    pub fn sync(&self, job: SyncJob) {
        let _ = self.inbox.send(Message::Synced(job.run()));
    }

    pub fn answered(&self, id: RequestId, result: Result<Reply, Failure>) {
        // The receiver is this node's own.
        let _ = self.inbox.send(Message::Answered(id, result));
    }

    pub fn raft(&self) -> &Raft {
        self.thread.driver.raft()
    }

    pub fn view(&self) -> LogView {
        self.thread.driver.view()
    }

    /// Whether this node decides.
    pub fn is_active(&self) -> bool {
        self.thread.active.is_some()
    }
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(item);
}

fn take<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *list.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}
