//! Raw frames over a socket: just enough of Kafka's protocol to poll a node and to say what no client would say.
//!
//! Deliberately independent of Ottla's codec. Strings and arrays here are of the non-flexible kind unless a
//! name says compact.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A request or response body being written.
#[derive(Clone, Debug, Default)]
pub struct Body(pub Vec<u8>);

impl Body {
    pub fn new() -> Body {
        Body::default()
    }
    pub fn i8(mut self, value: i8) -> Body {
        self.0.push(value as u8);
        self
    }
    pub fn i16(mut self, value: i16) -> Body {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub fn i32(mut self, value: i32) -> Body {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub fn i64(mut self, value: i64) -> Body {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub fn string(self, text: &str) -> Body {
        self.i16(text.len() as i16).raw(text.as_bytes())
    }
    pub fn bytes(self, bytes: &[u8]) -> Body {
        self.i32(bytes.len() as i32).raw(bytes)
    }
    /// An unsigned varint.
    pub fn varint(mut self, mut value: u32) -> Body {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }
    pub fn compact(self, text: &str) -> Body {
        self.varint(text.len() as u32 + 1).raw(text.as_bytes())
    }
    pub fn raw(mut self, bytes: &[u8]) -> Body {
        self.0.extend(bytes);
        self
    }
}

/// Whether a request's header carries tagged fields.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Header {
    /// Version 1: key, version, correlation id, client id.
    Plain,
    /// Version 2: the same and tagged fields.
    Flexible,
}

/// A request without its length: header and body.
pub fn request(key: i16, version: i16, correlation: i32, header: Header, body: Body) -> Vec<u8> {
    let head = Body::new().i16(key).i16(version).i32(correlation).string("e2e");
    let head = if header == Header::Flexible { head.varint(0) } else { head };
    head.raw(&body.0).0
}

/// A frame: length and payload.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    Body::new().bytes(payload).0
}

/// ApiVersions version 0.
pub fn api_versions_request() -> Vec<u8> {
    request(18, 0, 1, Header::Plain, Body::new())
}

/// What came back on a socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// A response frame without its length.
    Frame(Vec<u8>),
    /// The other side closed or reset the connection.
    Closed,
    /// Nothing before the timeout.
    Silence,
}

/// A connection on which frames are written and read one by one.
pub struct Connection {
    pub stream: TcpStream,
}

impl Connection {
    /// Connects; reads give up after `patience`.
    pub fn open(address: SocketAddr, patience: Duration) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(20)).context("connect")?;
        stream.set_read_timeout(Some(patience)).context("set a read timeout")?;
        stream.set_write_timeout(Some(Duration::from_secs(10))).context("set a write timeout")?;
        stream.set_nodelay(true).context("set nodelay")?;
        Ok(Connection { stream })
    }

    /// Sends bytes as they are; a closed connection is no error, the read tells.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads one frame.
    pub fn read(&mut self) -> Reply {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Reply::Silence;
            }
            Err(_) => return Reply::Closed,
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > 256 << 20 {
            return Reply::Closed;
        }
        let mut payload = vec![0; length];
        match self.stream.read_exact(&mut payload) {
            Ok(()) => Reply::Frame(payload),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Reply::Silence
            }
            Err(_) => Reply::Closed,
        }
    }

    /// Sends a request and returns its response, `None` if the node closed the connection.
    pub fn call(&mut self, payload: &[u8]) -> Result<Option<Vec<u8>>> {
        self.send(&framed(payload));
        match self.read() {
            Reply::Frame(frame) => Ok(Some(frame)),
            Reply::Closed => Ok(None),
            Reply::Silence => bail!("no answer in time"),
        }
    }

    /// Like [`Connection::call`], for a request that must be answered; checks and strips the correlation id.
    pub fn ask(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let frame = self.call(payload)?.context("the node closed the connection")?;
        ensure!(
            frame.len() >= 4 && payload.get(4..8) == frame.get(..4),
            "the answer has another correlation id"
        );
        Ok(frame[4..].to_vec())
    }

    /// The versions of each key that ApiVersions offers.
    pub fn offered(&mut self) -> Result<BTreeMap<i16, (i16, i16)>> {
        let answer = self.ask(&api_versions_request())?;
        let mut cursor = Cursor(&answer);
        let error = cursor.i16()?;
        ensure!(error == 0, "ApiVersions: error {error}");
        (0..cursor.i32()?).map(|_| Ok((cursor.i16()?, (cursor.i16()?, cursor.i16()?)))).collect()
    }

    /// What Metadata (version 1, all topics) says.
    pub fn metadata(&mut self) -> Result<Metadata> {
        let answer = self.ask(&request(3, 1, 2, Header::Plain, Body::new().i32(-1)))?;
        let mut cursor = Cursor(&answer);
        let mut metadata = Metadata::default();
        for _ in 0..cursor.i32()? {
            let (id, host, port) = (cursor.i32()?, cursor.string()?, cursor.i32()?);
            let _rack = cursor.string()?;
            metadata.brokers.insert(id, format!("{host}:{port}"));
        }
        let _controller = cursor.i32()?;
        for _ in 0..cursor.i32()? {
            let (_error, topic, _internal) = (cursor.i16()?, cursor.string()?, cursor.i8()?);
            for _ in 0..cursor.i32()? {
                let (_error, partition, leader) = (cursor.i16()?, cursor.i32()?, cursor.i32()?);
                let mut ids = || (0..cursor.i32()?).map(|_| cursor.i32()).collect::<Result<Vec<_>>>();
                let (replicas, isr) = (ids()?, ids()?);
                metadata.partitions.insert((topic.clone(), partition), Replicas { leader, replicas, isr });
            }
        }
        Ok(metadata)
    }

    /// The leader of the metadata quorum and its epoch by DescribeQuorum (version 0), which only the leader answers.
    pub fn quorum_leader(&mut self) -> Result<(i32, i32)> {
        let body = Body::new().varint(2).compact("__cluster_metadata").varint(2).i32(0).raw(&[0; 3]);
        let answer = self.ask(&request(55, 0, 5, Header::Flexible, body))?;
        let mut cursor = Cursor(&answer);
        let (_tags, error) = (cursor.i8()?, cursor.i16()?);
        ensure!(error == 0, "DescribeQuorum: error {error}");
        let (_topics, name) = (cursor.i8()?, cursor.i8()?);
        cursor.take(name as usize - 1)?;
        let (_partitions, _partition, error) = (cursor.i8()?, cursor.i32()?, cursor.i16()?);
        ensure!(error == 0, "DescribeQuorum of the metadata partition: error {error}");
        Ok((cursor.i32()?, cursor.i32()?))
    }

    /// Creates a topic on one node and waits until every partition has a leader that answers.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        self.request_topic(name, partitions, 1, configs)?;
        (0..partitions).try_for_each(|partition| self.await_leader(name, partition))
    }

    /// Has a topic created; its leaders may not know yet.
    pub fn request_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let mut body =
            Body::new().i32(1).string(name).i32(partitions).i16(replicas).i32(0).i32(configs.len() as i32);
        for (key, value) in configs {
            body = body.string(key).string(value);
        }
        let body = self.ask(&request(19, 2, 3, Header::Plain, body.i32(10_000).i8(0)))?;
        let mut cursor = Cursor(&body);
        let (_throttle, _count, topic, error) =
            (cursor.i32()?, cursor.i32()?, cursor.string()?, cursor.i16()?);
        ensure!(error == 0, "create topic {topic}: error {error}");
        Ok(())
    }

    /// Has a partition moved to these replicas by AlterPartitionReassignments (version 0).
    pub fn reassign(&mut self, topic: &str, partition: i32, replicas: &[i32]) -> Result<()> {
        let body = Body::new().i32(10_000).varint(2).compact(topic).varint(2).i32(partition);
        let body = replicas.iter().fold(body.varint(replicas.len() as u32 + 1), |body, id| body.i32(*id));
        let answer = self.ask(&request(45, 0, 6, Header::Flexible, body.raw(&[0; 3])))?;
        let mut cursor = Cursor(&answer);
        let (_tags, _throttle, error) = (cursor.i8()?, cursor.i32()?, cursor.i16()?);
        ensure!(error == 0, "reassign {topic}-{partition}: error {error}");
        Ok(())
    }

    /// The error of each of the broker's log directories by DescribeLogDirs (version 1, of no topic).
    pub fn log_dir_errors(&mut self) -> Result<BTreeMap<String, i16>> {
        let answer = self.ask(&request(35, 1, 8, Header::Plain, Body::new().i32(0)))?;
        let mut cursor = Cursor(&answer);
        let _throttle = cursor.i32()?;
        let mut errors = BTreeMap::new();
        for _ in 0..cursor.i32()? {
            let (error, dir, topics) = (cursor.i16()?, cursor.string()?, cursor.i32()?);
            ensure!(topics == 0, "DescribeLogDirs: {topics} topics in {dir}, and was asked for none");
            errors.insert(dir, error);
        }
        Ok(errors)
    }

    /// A consumer's Fetch (version 4) from an offset on: the error, and whole batches, of which the first may begin
    /// before the offset.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(i16, Vec<u8>)> {
        let body = Body::new().i32(-1).i32(100).i32(1).i32(1 << 20).i8(0);
        let body = body.i32(1).string(topic).i32(1).i32(partition).i64(offset).i32(1 << 20);
        let answer = self.ask(&request(1, 4, 7, Header::Plain, body))?;
        let mut cursor = Cursor(&answer);
        let (_throttle, _topics, _name) = (cursor.i32()?, cursor.i32()?, cursor.string()?);
        let (_partitions, _partition, error) = (cursor.i32()?, cursor.i32()?, cursor.i16()?);
        let (_high_watermark, _last_stable, aborted) = (cursor.i64()?, cursor.i64()?, cursor.i32()?);
        cursor.take(16 * usize::try_from(aborted).unwrap_or(0))?;
        let batches = if cursor.i32()? > 0 { cursor.0.to_vec() } else { Vec::new() };
        Ok((error, batches))
    }

    /// Asks for the end offset until the partition's leader knows that it is one.
    fn await_leader(&mut self, topic: &str, partition: i32) -> Result<()> {
        let body = Body::new().i32(-1).i32(1).string(topic).i32(1).i32(partition).i64(-1);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.ask(&request(2, 1, 4, Header::Plain, body.clone()))?;
            let mut cursor = Cursor(&answer);
            let (_topics, _name, _partitions, _partition) =
                (cursor.i32()?, cursor.string()?, cursor.i32()?, cursor.i32()?);
            match cursor.i16()? {
                0 => return Ok(()),
                // Metadata spreads when it spreads: nothing tells us (tidy: thread::sleep).
                3 | 5 | 6 if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                error => bail!("{topic}-{partition} has no leader: error {error}"),
            }
        }
    }
}

/// A partition as a broker sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replicas {
    /// -1 without one.
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
}

/// The cluster as a broker sees it.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Unfenced brokers: id and `host:port`.
    pub brokers: BTreeMap<i32, String>,
    pub partitions: BTreeMap<(String, i32), Replicas>,
}

/// Reads a response's fields in order.
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count).context("the response ends early")?;
        self.0 = rest;
        Ok(head)
    }
    pub fn i8(&mut self) -> Result<i8> {
        Ok(self.take(1)?[0] as i8)
    }
    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }
    pub fn string(&mut self) -> Result<String> {
        let length = self.i16()?;
        Ok(if length < 0 {
            String::new()
        } else {
            String::from_utf8_lossy(self.take(length as usize)?).into_owned()
        })
    }
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.i32()?;
        self.take(length.max(0) as usize)
    }
}
