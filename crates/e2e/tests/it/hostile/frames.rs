//! Frames, headers and bodies that lie about their size.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_e2e::node::Node;
use ottla_e2e::wire::{Body, Connection, Cursor, Header, framed, request};
use ottla_e2e::world;

use super::{Case, Compare, compare};

fn case(name: &str, bytes: Vec<u8>) -> Case {
    Case { name: name.into(), bytes, compare: Compare::Bytes }
}

fn kind(name: impl Into<String>, bytes: Vec<u8>) -> Case {
    Case { name: name.into(), bytes, compare: Compare::Kind }
}

pub fn framing() -> Result<()> {
    let size = |length: i32, payload: &[u8]| Body::new().i32(length).raw(payload).0;
    let header = |key: i16, version: i16| framed(&request(key, version, 5, Header::Plain, Body::new()));
    let mut cases = vec![
        case("length 0", size(0, b"")),
        case("length -1", size(-1, b"")),
        case("the lowest length", size(i32::MIN, b"")),
        case("one byte above the limit", size((100 << 20) + 1, b"")),
        case("the highest length", size(i32::MAX, b"some bytes")),
        case("a frame never finished", size(100, b"0123456789")),
        case("half a length", vec![0, 0]),
        case("too short for a header", size(3, b"abc")),
        case("a header without its end", size(7, &[0, 18, 0, 0, 0, 0, 0])),
        case("a header without a client id", size(8, &[0, 18, 0, 0, 0, 0, 0, 9])),
        case("a client id beyond the frame", size(10, &[0, 18, 0, 0, 0, 0, 0, 9, 0x7f, 0xff])),
        kind("a client id of length -2", size(10, &[0, 18, 0, 0, 0, 0, 0, 9, 0xff, 0xfe])),
        case("an HTTP request", b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n".to_vec()),
        case("a TLS hello", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 600]].concat()),
        case("key 999", header(999, 0)),
        case("key -1", header(-1, 0)),
        case("a removed key", header(4, 0)),
        case("Metadata version 99", header(3, 99)),
        case("Metadata version -1", header(3, -1)),
        case("the lowest version", header(3, i16::MIN)),
        case("ApiVersions version -1", header(18, -1)),
        case("InitProducerId at its unstable version", header(22, 6)),
        case("a controller's Vote", header(52, 2)),
        case("a controller's FetchSnapshot", header(59, 1)),
        case("a controller's BrokerRegistration", header(62, 4)),
        case("an Envelope", header(58, 0)),
    ];
    // The answer to an unknown ApiVersions version lists one key, and must be the same to the byte.
    cases.push(case("ApiVersions version 99", header(18, 99)));
    for (name, tags) in [
        ("header tags beyond the frame", vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("a header tag larger than the frame", vec![1, 7, 0xff, 0xff, 0x7f]),
        ("header tags as a varint without end", vec![0xff; 20]),
        ("an unknown header tag", vec![1, 0x63, 2, 1, 2]),
    ] {
        let head = Body::new().i16(60).i16(0).i32(5).string("e2e").raw(&tags);
        // DescribeCluster names ports, so only its existence is compared.
        cases.push(kind(name, framed(&head.i8(0).varint(0).0)));
    }
    // Two requests in one write, the second broken: the first is answered.
    let two = [framed(&request(18, 0, 5, Header::Plain, Body::new())), size(-5, b"")].concat();
    cases.push(kind("a good request before a bad one", two));
    compare(&cases, &*world::judge()?, &*world::candidate()?)
}

pub fn bodies() -> Result<()> {
    let plain = |key, version, body| framed(&request(key, version, 5, Header::Plain, body));
    let flexible = |key, version, body| framed(&request(key, version, 5, Header::Flexible, body));
    let b = Body::new;
    let cases = vec![
        // All topics, and which there are depends on the tests before.
        kind("Metadata: array of -2", plain(3, 1, b().i32(-2))),
        case("Metadata: the largest array", plain(3, 1, b().i32(i32::MAX))),
        case("Metadata: a million topics without bytes", plain(3, 1, b().i32(1_000_000))),
        case("Metadata: a string beyond the frame", plain(3, 1, b().i32(1).i16(i16::MAX).raw(b"abc"))),
        case("Metadata: a null name", plain(3, 1, b().i32(1).i16(-1))),
        case("Metadata: a name of length -5", plain(3, 1, b().i32(1).i16(-5))),
        case("Metadata: no UTF-8", plain(3, 1, b().i32(1).i16(2).raw(&[0xc3, 0x28]))),
        kind("Metadata: bytes after the end", plain(3, 1, b().i32(0).raw(b"more"))),
        case("Metadata 9: array as a varint without end", flexible(3, 9, b().raw(&[0xff; 12]))),
        case(
            "Metadata 9: the largest compact array",
            flexible(3, 9, b().raw(&[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ),
        case(
            "Metadata 9: a compact string beyond the frame",
            flexible(3, 9, b().varint(2).varint(9999).raw(b"abc")),
        ),
        case(
            "Metadata 9: a null compact name",
            flexible(3, 9, b().varint(2).varint(0).varint(0).i8(0).i8(0).i8(0).varint(0)),
        ),
        case(
            "Metadata 9: tags beyond the frame",
            flexible(3, 9, b().varint(1).i8(0).i8(0).i8(0).raw(&[0xff, 0xff, 0xff, 0x7f])),
        ),
        case(
            "Metadata 9: a tag larger than the frame",
            flexible(3, 9, b().varint(1).i8(0).i8(0).i8(0).raw(&[1, 0, 0xff, 0x7f])),
        ),
        case("Metadata 12: a boolean of 7", plain(3, 4, b().i32(0).i8(7).i8(9))),
        case(
            "Produce: a million topics without bytes",
            plain(0, 3, b().i16(-1).i16(1).i32(1000).i32(1_000_000)),
        ),
        case("Produce: records of -5 bytes", produce(-5, b"")),
        case("Produce: records beyond the frame", produce(i32::MAX, b"abc")),
        case(
            "Produce: acks 7",
            plain(0, 3, b().i16(-1).i16(7).i32(1000).i32(1).string("hostile-none").i32(1).i32(0).bytes(b"x")),
        ),
        case(
            "Fetch: a million topics without bytes",
            plain(1, 4, b().i32(-1).i32(0).i32(1).i32(1000).i8(0).i32(1_000_000)),
        ),
        case("Fetch: an isolation of 9", plain(1, 4, b().i32(-1).i32(0).i32(1).i32(1000).i8(9).i32(0))),
        case("Fetch: negative sizes", plain(1, 4, b().i32(-1).i32(-1).i32(-1).i32(-1).i8(0).i32(0))),
        case(
            "ListOffsets: a timestamp of -77",
            plain(2, 1, b().i32(-1).i32(1).string("hostile-none").i32(1).i32(0).i64(-77)),
        ),
        case(
            "JoinGroup: protocols beyond the frame",
            plain(11, 0, b().string("g").i32(10_000).string("").string("consumer").i32(i32::MAX)),
        ),
        case(
            "JoinGroup: metadata beyond the frame",
            plain(
                11,
                0,
                b().string("g").i32(10_000).string("").string("consumer").i32(1).string("range").i32(99_999),
            ),
        ),
        case(
            "JoinGroup: a session timeout of 0",
            plain(
                11,
                0,
                b().string("g").i32(0).string("").string("consumer").i32(1).string("range").bytes(b"x"),
            ),
        ),
        case(
            "JoinGroup: no group id",
            plain(
                11,
                0,
                b().string("").i32(10_000).string("").string("consumer").i32(1).string("range").bytes(b"x"),
            ),
        ),
        case(
            "JoinGroup: no protocols",
            plain(11, 0, b().string("g").i32(10_000).string("").string("consumer").i32(0)),
        ),
        case("SyncGroup: an unknown member", plain(14, 0, b().string("g-none").i32(1).string("m").i32(0))),
        case("Heartbeat: an unknown member", plain(12, 0, b().string("g-none").i32(1).string("m"))),
        case(
            "OffsetCommit: an unknown generation",
            plain(8, 2, b().string("g-none").i32(5).string("m").i64(-1).i32(0)),
        ),
        case(
            "CreateTopics: assignments beyond the frame",
            plain(19, 2, b().i32(1).string("x").i32(1).i16(1).i32(i32::MAX)),
        ),
        case("CreateTopics: nothing to do", plain(19, 2, b().i32(0).i32(1000).i8(0))),
        case("CreateTopics: the same twice", plain(19, 2, create_twice())),
        case("DeleteTopics: an unknown one", plain(20, 1, b().i32(1).string("hostile-none").i32(1000))),
        case("InitProducerId: an empty transactional id", plain(22, 0, b().string("").i32(1000))),
        case("FindCoordinator: key type 9", plain(10, 1, b().string("g").i8(9))),
        case("DescribeConfigs: resource type 99", plain(32, 1, b().i32(1).i8(99).string("x").i32(-1).i8(0))),
        case(
            "DescribeConfigs: an unknown topic",
            plain(32, 1, b().i32(1).i8(2).string("hostile-none").i32(-1).i8(0)),
        ),
        case(
            "DescribeConfigs: a broker that is no number",
            plain(32, 1, b().i32(1).i8(4).string("x").i32(-1).i8(0)),
        ),
        case(
            "DeleteRecords: an unknown topic",
            plain(21, 0, b().i32(1).string("hostile-none").i32(1).i32(0).i64(5).i32(100)),
        ),
        case(
            "OffsetForLeaderEpoch: an unknown topic",
            plain(23, 2, b().i32(1).string("hostile-none").i32(1).i32(0).i32(-1).i32(0)),
        ),
        case("ApiVersions 3: an empty software name", flexible(18, 3, b().varint(1).varint(1).varint(0))),
        case("ApiVersions 3: no body", flexible(18, 3, b())),
        case("SaslHandshake without SASL", plain(17, 1, b().string("PLAIN"))),
        case("SaslAuthenticate without SASL", plain(36, 0, b().bytes(b"\0a\0b"))),
    ];
    compare(&cases, &*world::judge()?, &*world::candidate()?)
}

fn create_twice() -> Body {
    let topic = |body: Body| body.string("hostile-twice").i32(1).i16(1).i32(0).i32(0);
    topic(topic(Body::new().i32(2))).i32(1000).i8(0)
}

/// Produce version 3 with a lying length of records.
fn produce(length: i32, records: &[u8]) -> Vec<u8> {
    let body = Body::new()
        .i16(-1)
        .i16(1)
        .i32(1000)
        .i32(1)
        .string("hostile-none")
        .i32(1)
        .i32(0)
        .i32(length)
        .raw(records);
    framed(&request(0, 3, 5, Header::Plain, body))
}

/// Every key and version the candidate offers, with no body, with zeros, with ones.
pub fn every_api() -> Result<()> {
    let (judge, candidate) = (world::judge()?, world::candidate()?);
    let (theirs, ours) = (offered(&judge)?, offered(&candidate)?);
    let missing: Vec<_> = theirs.iter().filter(|(key, range)| ours.get(key) != Some(range)).collect();
    eprintln!("e2e: keys that Apache Kafka offers with other versions or alone: {missing:?}");
    let mut cases = Vec::new();
    for (key, (low, high)) in ours.iter().filter(|(key, range)| theirs.get(key) == Some(range)) {
        for version in [*low, *high] {
            // A flexible header of a request that is not flexible reads as one stray byte of its body.
            for (name, fill) in [("no body", vec![]), ("zeros", vec![0; 80]), ("ones", vec![0xff; 80])] {
                // Keys which with a body of zeros change what others see, or wait, are left out.
                if name == "zeros" && [0, 1, 11, 14, 71, 72, 68, 76, 78, 79, 88].contains(key) {
                    continue;
                }
                let frame = framed(&request(*key, version, 5, Header::Plain, Body::new().raw(&fill)));
                cases.push(kind(format!("key {key} version {version}, {name}"), frame));
            }
        }
    }
    compare(&cases, &judge, &candidate)
}

fn offered(node: &Node) -> Result<BTreeMap<i16, (i16, i16)>> {
    let mut connection = Connection::open(node.address(), Duration::from_secs(5))?;
    let answer = connection.ask(&request(18, 0, 5, Header::Plain, Body::new()))?;
    let mut cursor = Cursor(&answer);
    ensure!(cursor.i16()? == 0, "ApiVersions is answered with an error");
    (0..cursor.i32()?).map(|_| Ok((cursor.i16()?, (cursor.i16()?, cursor.i16()?)))).collect()
}

/// Thousands of frames with random bytes changed: the node stays up and keeps answering others.
pub fn mutations() -> Result<()> {
    let node = world::candidate()?;
    let templates: Vec<Vec<u8>> = vec![
        request(3, 1, 5, Header::Plain, Body::new().i32(1).string("hostile-none")),
        request(
            3,
            12,
            5,
            Header::Flexible,
            Body::new().varint(2).raw(&[0; 16]).compact("hostile-none").varint(0).i8(0).i8(0).varint(0),
        ),
        request(
            1,
            4,
            5,
            Header::Plain,
            Body::new()
                .i32(-1)
                .i32(0)
                .i32(1)
                .i32(1000)
                .i8(0)
                .i32(1)
                .string("hostile-none")
                .i32(1)
                .i32(0)
                .i64(0)
                .i32(9999),
        ),
        request(
            2,
            1,
            5,
            Header::Plain,
            Body::new().i32(-1).i32(1).string("hostile-none").i32(1).i32(0).i64(-1),
        ),
        request(
            0,
            3,
            5,
            Header::Plain,
            Body::new()
                .i16(-1)
                .i16(1)
                .i32(100)
                .i32(1)
                .string("hostile-none")
                .i32(1)
                .i32(0)
                .bytes(&ottla_e2e::batch::Batch::of(&[b"x"]).encode()),
        ),
        request(
            11,
            0,
            5,
            Header::Plain,
            Body::new()
                .string("g-mutated")
                .i32(10_000)
                .string("")
                .string("consumer")
                .i32(1)
                .string("range")
                .bytes(b"x"),
        ),
        request(
            8,
            2,
            5,
            Header::Plain,
            Body::new()
                .string("g-mutated")
                .i32(-1)
                .string("")
                .i64(-1)
                .i32(1)
                .string("hostile-none")
                .i32(1)
                .i32(0)
                .i64(5)
                .string("m"),
        ),
        request(32, 1, 5, Header::Plain, Body::new().i32(1).i8(2).string("hostile-none").i32(-1).i8(0)),
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut watcher = Connection::open(node.address(), Duration::from_secs(5))?;
    for round in 0..2000 {
        let mut payload = templates[round % templates.len()].clone();
        for _ in 0..=random(4) {
            let at = random(payload.len());
            match random(3) {
                0 => payload[at] = random(256) as u8,
                1 => payload.truncate(at.max(1)),
                _ => payload.insert(at, [0, 0x7f, 0x80, 0xff][random(4)]),
            }
        }
        let mut connection = Connection::open(node.address(), Duration::from_millis(200))?;
        connection.send(&framed(&payload));
        if round % 100 == 0 {
            connection.read();
            ensure!(
                watcher.metadata().context("ask beside the mutations")?.brokers.len() == 1,
                "the node lost itself"
            );
        }
    }
    ensure!(node.answers(), "the node no longer answers; its log:\n{}", node.log_tail());
    Ok(())
}
