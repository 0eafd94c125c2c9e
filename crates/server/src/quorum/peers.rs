//! Requests of this node's quorum to others: a task and a connection for each destination, one request at a time.
//!
//! Knows sockets and nothing of elections: what becomes of each request is handed back, and when to try again is the
//! step machine's decision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_model::ErrorCode;
use ottla_raft::{Destination, Failure, Outgoing, Request, RequestId};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::wire::Reply;
use super::wire::ask::{AskError, Asker};
use crate::rpc::{NodeAddress, NodeClient, RpcError, RpcNetwork};

/// Takes what became of a request.
pub type Answered = Arc<dyn Fn(RequestId, Result<Reply, Failure>) + Send + Sync>;

/// The connections to the quorum's other nodes.
pub struct Peers {
    runtime: Handle,
    link: Arc<Link>,
    tasks: BTreeMap<Destination, mpsc::UnboundedSender<(RequestId, Request)>>,
}

/// What all tasks share.
struct Link {
    network: Arc<RpcNetwork>,
    asker: Asker,
    client_id: String,
    request_timeout: Duration,
    answered: Answered,
}

impl Peers {
    /// Tasks run on `runtime`. `request_timeout` is `controller.quorum.request.timeout.ms`.
    pub fn new(
        runtime: Handle,
        network: Arc<RpcNetwork>,
        asker: Asker,
        client_id: String,
        request_timeout: Duration,
        answered: Answered,
    ) -> Self {
        let link = Arc::new(Link { network, asker, client_id, request_timeout, answered });
        Self { runtime, link, tasks: BTreeMap::new() }
    }

    /// Sends a request; the outcome is handed back later, exactly once.
    pub fn send(&mut self, outgoing: Outgoing) {
        let Outgoing { id, to, request } = outgoing;
        let (runtime, link) = (&self.runtime, &self.link);
        let task = self.tasks.entry(to).or_insert_with_key(|to| {
            let (sender, requests) = mpsc::unbounded_channel();
            runtime.spawn(Arc::clone(link).run(to.clone(), requests));
            sender
        });
        if task.send((id, request)).is_err() {
            (self.link.answered)(id, Err(Failure::Unreachable));
        }
    }
}

impl Link {
    /// Ends with [`Peers`].
    async fn run(
        self: Arc<Self>,
        to: Destination,
        mut requests: mpsc::UnboundedReceiver<(RequestId, Request)>,
    ) {
        let address = NodeAddress { host: to.host.clone(), port: to.port };
        let mut connection = None;
        // Said once for as long as it lasts: requests are repeated many times a second.
        let mut unreachable = false;
        let mut refused = ErrorCode::None;
        while let Some((id, request)) = requests.recv().await {
            let result = self.ask(&address, &mut connection, &request).await;
            match &result {
                Ok(reply) => {
                    if unreachable {
                        tracing::info!(%address, "the quorum's node is reachable again");
                    }
                    unreachable = false;
                    let error = reply.response.error;
                    let is_lasting =
                        matches!(error, ErrorCode::InconsistentClusterId | ErrorCode::InvalidVoterKey);
                    if is_lasting && error != refused {
                        tracing::error!(%address, node = ?to.node, %error, "the quorum's node refuses this one");
                    }
                    refused = if is_lasting { error } else { ErrorCode::None };
                }
                Err(error) => {
                    if !unreachable && error.failure() == Failure::Unreachable {
                        tracing::warn!(%address, node = ?to.node, %error, "cannot reach a node of the quorum");
                        unreachable = true;
                    }
                    if !error.leaves_connection() {
                        connection = None;
                    }
                }
            }
            (self.answered)(id, result.map_err(|error| error.failure()));
        }
    }

    /// A connection that was kept may be broken, as the other node has been restarted since: then the request goes out
    /// again on a new one at once. The quorum's requests may come twice.
    async fn ask(
        &self,
        address: &NodeAddress,
        connection: &mut Option<NodeClient>,
        request: &Request,
    ) -> Result<Reply, AskError> {
        let was_kept = connection.is_some();
        match self.ask_once(address, connection, request).await {
            Err(AskError::Rpc(RpcError::Io(_))) if was_kept => {
                *connection = None;
                self.ask_once(address, connection, request).await
            }
            result => result,
        }
    }

    async fn ask_once(
        &self,
        address: &NodeAddress,
        connection: &mut Option<NodeClient>,
        request: &Request,
    ) -> Result<Reply, AskError> {
        let client = match connection {
            Some(client) => client,
            None => connection.insert(
                NodeClient::connect(&self.network, address, &self.client_id, self.request_timeout).await?,
            ),
        };
        self.asker.ask(client, request).await
    }
}
