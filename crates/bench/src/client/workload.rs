//! What a load of a client is told and what it says: the same for Ottla's client and, in a package of its own, for
//! librdkafka, which includes this file. `clients/java/ClientLoad.java` is its twin.
//!
//! Needs nothing but the standard library. Prints a line per round, `round SECONDS CPU_SECONDS` or
//! `latency P50 P99 MAX` in microseconds, and at the end `peak KIB`, the most memory that was resident.

use std::fs;
use std::time::{Duration, Instant};

/// How many payloads there are; records take them in turn.
const PAYLOADS: usize = 1024;
/// What /proc counts CPU time in, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// Records of a latency round that are not counted: connections are made and code becomes warm.
pub const LATENCY_WARM_UP: usize = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Produce,
    Consume,
    Latency,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Produce, Self::Consume, Self::Latency];

    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::Latency => "latency",
        }
    }
}

/// The command line `MODE BOOTSTRAP TOPIC PARTITIONS RECORDS RECORD_BYTES ROUNDS [NAME=VALUE ...]`.
#[derive(Clone, Debug)]
pub struct Workload {
    pub mode: Mode,
    pub bootstrap: String,
    pub topic: String,
    pub partitions: i32,
    /// In each round.
    pub records: usize,
    pub record_bytes: usize,
    pub rounds: usize,
    /// The client's settings, under its own names.
    pub settings: Vec<(String, String)>,
}

impl Workload {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mode = arguments.next()?;
        Some(Self {
            mode: Mode::ALL.into_iter().find(|known| known.name() == mode)?,
            bootstrap: arguments.next()?,
            topic: arguments.next()?,
            partitions: arguments.next()?.parse().ok()?,
            records: arguments.next()?.parse().ok()?,
            record_bytes: arguments.next()?.parse().ok()?,
            rounds: arguments.next()?.parse().ok()?,
            settings: arguments
                .map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
                .collect::<Option<_>>()?,
        })
    }

    /// Values like those of the other cells; of a batch of them LZ4 leaves four fifths.
    pub fn payloads(&self) -> Vec<Vec<u8>> {
        let mut state = 1u64;
        let mut payload = |_| {
            let mut value = vec![0; self.record_bytes];
            for pair in value.chunks_exact_mut(2) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                pair[0] = b'a' + (state >> 60) as u8;
                pair[1] = b'0' + (state >> 58) as u8 % 4;
            }
            value
        };
        (0..PAYLOADS).map(&mut payload).collect()
    }

    /// The partition of the record of this number.
    pub fn partition(&self, number: usize) -> i32 {
        (number % self.partitions as usize) as i32
    }
}

/// A round under way.
pub struct Round {
    begun: Instant,
    cpu: f64,
}

impl Round {
    pub fn begin() -> Self {
        Self { begun: Instant::now(), cpu: cpu_seconds() }
    }

    pub fn end(self) {
        println!("round {} {}", self.begun.elapsed().as_secs_f64(), cpu_seconds() - self.cpu);
    }
}

/// Records that are due once a millisecond, and when they came: the first eight bytes of each are its number.
pub struct Latencies {
    begun: Instant,
    taken: Vec<Duration>,
    seen: usize,
    records: usize,
}

impl Latencies {
    pub fn new(begun: Instant, records: usize) -> Self {
        Self { begun, taken: Vec::with_capacity(records), seen: 0, records }
    }

    /// When a record is due.
    pub fn due(begun: Instant, number: usize) -> Instant {
        begun + Duration::from_millis(number as u64)
    }

    /// Waits until a record is due.
    pub fn wait_until_due(begun: Instant, number: usize) {
        // tidy: thread::sleep, as records are due at points in time.
        std::thread::sleep(Self::due(begun, number).saturating_duration_since(Instant::now()));
    }

    /// A record came to the consumer.
    pub fn see(&mut self, value: &[u8]) {
        let number = value.first_chunk().map_or(0, |number| u64::from_be_bytes(*number)) as usize;
        self.seen += 1;
        if number >= LATENCY_WARM_UP {
            self.taken.push(Instant::now().saturating_duration_since(Self::due(self.begun, number)));
        }
    }

    pub fn is_complete(&self) -> bool {
        self.seen >= self.records
    }

    pub fn print(mut self) {
        self.taken.sort_unstable();
        let at = |share: f64| {
            let index = (self.taken.len() as f64 * share) as usize;
            self.taken[index.min(self.taken.len() - 1)].as_secs_f64() * 1e6
        };
        println!("latency {} {} {}", at(0.5), at(0.99), at(1.0));
    }
}

/// Says how much memory was resident at most.
pub fn print_peak() {
    let status = fs::read_to_string("/proc/self/status").expect("read /proc/self/status");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("find the peak");
    println!("peak {}", line.split_whitespace().nth(1).expect("read the peak"));
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").expect("read /proc/self/stat");
    // The name in parentheses may hold anything; fields 14 and 15 of the whole are 12 and 13 behind it.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("read ticks")).sum::<f64>()
        / TICKS_PER_SECOND
}
