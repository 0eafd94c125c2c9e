//! What validating a produced batch costs: 16 KiB batches of 100-byte records, and one of a single record.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ottla_model::{LeaderEpoch, Millis, Offset, TopicPartition};
use ottla_record::{BatchBuilder, Codec, Compression, ProduceRules, TimestampType, crc, validate};

const NOW: Millis = Millis(1_700_000_000_000);

/// Records of 100 bytes of half-compressible text until the batch has `size` bytes before compression.
fn batch(codec: Codec, size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    let mut state = 1u64;
    while builder.is_empty() || builder.size_bytes() + 107 <= size {
        let value: Vec<u8> = (0..50)
            .flat_map(|n| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                [b'a' + (state >> 60) as u8, b'0' + n % 10]
            })
            .collect();
        builder.append(NOW, None, Some(&value));
    }
    builder.build()
}

fn validate(c: &mut Criterion) {
    let partition = TopicPartition::new("bench", 0);
    let mut group = c.benchmark_group("validate");
    for (name, codec, size, timestamp_type) in [
        ("one record", Codec::None, 100, TimestampType::CreateTime),
        ("16 KiB", Codec::None, 16 << 10, TimestampType::CreateTime),
        ("16 KiB, append time", Codec::None, 16 << 10, TimestampType::LogAppendTime),
        ("16 KiB lz4", Codec::Lz4, 16 << 10, TimestampType::CreateTime),
        ("32 KiB in 16 KiB lz4", Codec::Lz4, 32 << 10, TimestampType::CreateTime),
        ("16 KiB zstd", Codec::Zstd, 16 << 10, TimestampType::CreateTime),
        ("16 KiB snappy", Codec::Snappy, 16 << 10, TimestampType::CreateTime),
        ("16 KiB gzip", Codec::Gzip, 16 << 10, TimestampType::CreateTime),
        ("960 KiB", Codec::None, 960 << 10, TimestampType::CreateTime),
        ("1,920 KiB lz4", Codec::Lz4, 1920 << 10, TimestampType::CreateTime),
    ] {
        let sent = batch(codec, size);
        let rules = ProduceRules { timestamp_type, ..ProduceRules::default() };
        group.throughput(Throughput::Bytes(sent.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let batch = validate::request_batch(&sent, 13).unwrap();
                let valid = validate::produce_batch(batch, &rules, &partition, NOW).unwrap();
                valid.stamp(Offset(1), LeaderEpoch(1))
            })
        });
    }
    group.finish();
    let mut group = c.benchmark_group("crc32c");
    for size in [40, 16 << 10, 960 << 10] {
        let bytes = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(size.to_string(), |b| b.iter(|| crc::crc32c(&bytes)));
    }
    group.finish();
}

criterion_group!(benches, validate);
criterion_main!(benches);
