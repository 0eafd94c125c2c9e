//! Requests of this node to others: one connection, its negotiated versions, and the answers in order.
//!
//! A [`NodeClient`] is owned by one task and lives as long as its connection: after any [`RpcError`] it is to be
//! dropped, and when to connect again is the caller's decision. Knows how requests are framed, not what they mean.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_protocol::api::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::{
    ApiKey, DecodeError, Decoder, EncodeError, Request, Segment, Str, Versions, decode_response,
    encode_request,
};
use ottla_transport::{Budget, BufferPool, ConnectionLimits, Network, RpcChannel, Tcp};
use tokio::time::{Instant, timeout_at};

/// Unused buffers for answers that are kept.
const POOL_BYTES_MAX: usize = 16 << 20;
/// Large answers that may be held at once by all connections to other nodes. Apart from the budget for requests of
/// clients: those may wait for what an answer brings.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Other nodes are believed: what they announce up to here is received without a copy.
const ANSWER_FIRST_BYTES: usize = 16 << 20;
/// The longest answer taken.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// What all connections of a node to other nodes share.
#[derive(Debug)]
pub struct RpcNetwork {
    network: Arc<dyn Network>,
    pool: Arc<BufferPool>,
    budget: Arc<Budget>,
}

impl RpcNetwork {
    /// Over the machine's own network.
    pub fn new() -> Arc<Self> {
        Self::over(Arc::new(Tcp))
    }

    pub fn over(network: Arc<dyn Network>) -> Arc<Self> {
        Arc::new(Self {
            network,
            pool: BufferPool::new(POOL_BYTES_MAX),
            budget: Budget::new(ANSWER_BYTES_MAX),
        })
    }
}

/// Where another node listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    pub host: String,
    pub port: u16,
}

/// `host:port`
impl std::fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the peer serves no version of {0:?} that this node knows")]
    UnsupportedVersion(ApiKey),
    #[error("cannot encode the request: {0}")]
    Encode(#[from] EncodeError),
    #[error("cannot decode the answer: {0}")]
    Decode(#[from] DecodeError),
    #[error("the peer answered request {found} instead of {expected}")]
    Correlation { expected: i32, found: i32 },
    #[error("the peer refused ApiVersions: {0}")]
    Refused(ErrorCode),
}

/// A connection to another node.
#[derive(Debug)]
pub struct NodeClient {
    channel: RpcChannel,
    client_id: Str,
    request_timeout: Duration,
    correlation_id: i32,
    /// Requests without an answer yet, oldest first: correlation id and version.
    in_flight: VecDeque<(i32, i16)>,
    peer: ApiVersionsResponse,
}

impl NodeClient {
    /// Connects and asks for the peer's versions, together within `request_timeout`, which later holds for every
    /// answer.
    pub async fn connect(
        network: &RpcNetwork,
        address: &NodeAddress,
        client_id: &str,
        request_timeout: Duration,
    ) -> Result<Self, RpcError> {
        let mut client = Self::connect_unversioned(network, address, client_id, request_timeout).await?;
        client.negotiate().await?;
        Ok(client)
    }

    /// Connects without asking for versions: only [`Self::send_version`] may be used.
    pub async fn connect_unversioned(
        network: &RpcNetwork,
        address: &NodeAddress,
        client_id: &str,
        request_timeout: Duration,
    ) -> Result<Self, RpcError> {
        let channel = RpcChannel::connect(
            &*network.network,
            &address.host,
            address.port,
            request_timeout,
            ConnectionLimits { frame_bytes_max: FRAME_BYTES_MAX, large_first_bytes: ANSWER_FIRST_BYTES },
            Arc::clone(&network.pool),
            Arc::clone(&network.budget),
        );
        Ok(Self {
            channel: channel.await?,
            client_id: Str::from(client_id),
            request_timeout,
            correlation_id: 0,
            in_flight: VecDeque::new(),
            peer: ApiVersionsResponse::default(),
        })
    }

    /// A peer that does not know the newest version says so in version 0, with those that it does know.
    async fn negotiate(&mut self) -> Result<(), RpcError> {
        let request = ApiVersionsRequest {
            client_software_name: "ottla".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        let mut version = ApiKey::ApiVersions.stable_versions().max;
        loop {
            self.send_version(&request, version)?;
            let frame = self.receive_frame().await?;
            let mut answer = decode_response::<ApiVersionsRequest>(frame.clone(), version);
            if let Ok((_, response)) = &answer
                && response.error_code == 0
            {
                self.peer = answer?.1;
                return Ok(());
            }
            answer = decode_response::<ApiVersionsRequest>(frame, 0);
            let refusal = answer?.1;
            let code = ErrorCode::from_code(refusal.error_code).unwrap_or(ErrorCode::UnknownServerError);
            let known = range_of(&refusal.api_keys, ApiKey::ApiVersions);
            let common = known.intersect(Versions::new(0, version - 1));
            if code != ErrorCode::UnsupportedVersion || common.is_empty() {
                return Err(RpcError::Refused(code));
            }
            version = common.max;
        }
    }

    /// What the peer said of itself: keys, versions and features.
    pub fn peer(&self) -> &ApiVersionsResponse {
        &self.peer
    }

    /// The highest version of `key` that both sides know.
    pub fn version_of(&self, key: ApiKey) -> Option<i16> {
        let common = range_of(&self.peer.api_keys, key).intersect(key.stable_versions());
        (!common.is_empty()).then_some(common.max)
    }

    /// Queues a request in the highest common version. Answers come in the order of the requests.
    pub fn send<R: Request>(&mut self, request: &R) -> Result<(), RpcError> {
        let version = self.version_of(R::KEY).ok_or(RpcError::UnsupportedVersion(R::KEY))?;
        self.send_version(request, version)
    }

    /// As [`Self::send`], in a version of the caller's choice.
    pub fn send_version<R: Request>(&mut self, request: &R, version: i16) -> Result<(), RpcError> {
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        let client_id = Some(self.client_id.clone());
        for segment in encode_request(request, version, self.correlation_id, client_id)? {
            match segment {
                Segment::Bytes(bytes) => self.channel.push(bytes),
                Segment::External { .. } => unreachable!("requests carry no file ranges"),
            }
        }
        self.in_flight.push_back((self.correlation_id, version));
        Ok(())
    }

    /// Requests whose answers are outstanding.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Sends what is queued without waiting for an answer.
    pub async fn flush(&mut self) -> Result<(), RpcError> {
        Ok(self.channel.flush().await?)
    }

    /// The answer to the oldest request in flight, which must be an `R`. May be dropped and called again.
    pub async fn receive<R: Request>(&mut self) -> Result<R::Response, RpcError> {
        let version = self.in_flight.front().map_or(0, |&(_, version)| version);
        let frame = self.receive_frame().await?;
        Ok(decode_response::<R>(frame, version)?.1)
    }

    /// Sends a request and waits for its answer; answers to earlier requests, whose callers gave up, are passed over.
    pub async fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, RpcError> {
        self.send(request)?;
        while self.in_flight.len() > 1 {
            self.receive_frame().await?;
        }
        self.receive::<R>().await
    }

    async fn receive_frame(&mut self) -> Result<Bytes, RpcError> {
        let deadline = Instant::now() + self.request_timeout;
        let answer = timeout_at(deadline, self.channel.answer()).await;
        let frame = answer.map_err(|_| RpcError::TimedOut(self.request_timeout))??;
        // The correlation id is the first thing in every version of the header.
        let found = Decoder::new(frame.clone()).i32()?;
        match self.in_flight.pop_front() {
            Some((expected, _)) if expected == found => Ok(frame),
            expected => {
                Err(RpcError::Correlation { expected: expected.map_or(-1, |(expected, _)| expected), found })
            }
        }
    }
}

/// What rows of an answer to ApiVersions say of `key`.
pub fn range_of(keys: &[ApiVersion], key: ApiKey) -> Versions {
    keys.iter()
        .find(|row| row.api_key == key as i16)
        .map_or(Versions::NONE, |row| Versions::new(row.min_version, row.max_version))
}
