//! Formats 0 and 1, built here as Kafka's documentation draws them.

use bytes::Bytes;
use ottla_record::legacy::LegacyEntry;
use ottla_record::{BatchError, Codec, Compression, compression};

fn entry(
    offset: i64,
    magic: i8,
    attributes: i8,
    timestamp: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = vec![magic as u8, attributes as u8];
    if magic == 1 {
        body.extend_from_slice(&timestamp.to_be_bytes());
    }
    for bytes in [key, value] {
        body.extend_from_slice(&bytes.map_or(-1, |b| b.len() as i32).to_be_bytes());
        body.extend_from_slice(bytes.unwrap_or_default());
    }
    let mut out = offset.to_be_bytes().to_vec();
    out.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    out.extend_from_slice(&crc32(&body).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

/// CRC-32 (IEEE), bit by bit, so as not to test a library with itself.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

fn read(bytes: Vec<u8>) -> LegacyEntry {
    let (entry, rest) = LegacyEntry::split_first(&bytes.into()).unwrap().unwrap();
    assert!(rest.is_empty());
    entry.verify_crc().unwrap();
    entry
}

#[test]
fn plain_messages() {
    let zero = read(entry(5, 0, 0, 0, Some(b"k"), None));
    let records = zero.records(1000).unwrap();
    assert_eq!((records[0].offset.0, records[0].timestamp.0), (5, -1));
    assert_eq!((records[0].key.as_deref(), records[0].value.as_deref()), (Some(&b"k"[..]), None));
    let one = read(entry(6, 1, 8, 1234, None, Some(b"v")));
    assert_eq!(one.records(1000).unwrap()[0].timestamp.0, 1234);
}

#[test]
fn wrappers_of_every_codec_and_both_formats() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        for magic in [0i8, 1] {
            // Format 0 holds absolute offsets inside, format 1 relative ones.
            let inner: Vec<u8> = (0..3i64)
                .flat_map(|n| {
                    let offset = if magic == 0 { 40 + n } else { n };
                    entry(offset, magic, 0, 100 + n, None, Some(format!("value {n}").as_bytes()))
                })
                .collect();
            let mut value = Vec::new();
            compression::compress(Compression::of(codec), &inner, &mut value);
            if codec == Codec::Lz4 && magic == 0 {
                value[6] ^= 0x55;
            }
            let wrapper = read(entry(42, magic, codec as i8, 102, None, Some(&value)));
            let records = wrapper.records(10_000).unwrap();
            let offsets: Vec<i64> = records.iter().map(|record| record.offset.0).collect();
            assert_eq!(offsets, [40, 41, 42], "{codec} {magic}");
            assert_eq!(records[1].value.as_deref(), Some(&b"value 1"[..]));
            assert_eq!(records[1].timestamp.0, if magic == 0 { -1 } else { 101 });
            assert_eq!(wrapper.records(50), Err(BatchError::TooLarge { limit: 50 }));
        }
    }
}

#[test]
fn broken_ones_are_errors() {
    let good = entry(5, 1, 0, 7, Some(b"key"), Some(b"value"));
    for at in 16..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        match LegacyEntry::split_first(&Bytes::from(bad)) {
            Ok(Some((entry, _))) => {
                assert!(matches!(entry.verify_crc(), Err(BatchError::Crc { .. })), "{at}")
            }
            Ok(None) => panic!("{at}"),
            Err(_) => {}
        }
    }
    for end in 0..good.len() {
        let part = Bytes::copy_from_slice(&good[..end]);
        assert_eq!(LegacyEntry::split_first(&part), Ok(None));
    }
}
