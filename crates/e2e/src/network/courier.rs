//! Slow links: the kernel hands over their packets (NFQUEUE), and a thread lets each go when its time has come.
//!
//! Every packet draws a time of its own, so that packets overtake each other. What the thread still holds when it ends
//! goes at once: a link loses nothing by becoming fast again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nfq::{Message, Queue, Verdict};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The queue of packets in each namespace.
pub(super) const QUEUE: u16 = 0;

/// Carries the packets that one host's namespace queues, until it is dropped.
#[derive(Debug)]
pub(super) struct Courier {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Courier {
    /// From now on what the namespace queues arrives after a time within `delay`.
    pub(super) fn start(namespace: &str, delay: Range<Duration>) -> Result<Courier> {
        let space = File::open(format!("/run/netns/{namespace}")).context("open a namespace")?;
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let (opened, outcome) = channel();
        let thread = std::thread::spawn(move || match open(&space) {
            Ok(queue) => {
                let _ = opened.send(Ok(()));
                carry(queue, &delay, &told);
            }
            Err(error) => drop(opened.send(Err(error))),
        });
        let courier = Courier { ends, thread: Some(thread) };
        let outcome = outcome.recv().context("hear from the courier")?;
        outcome.context("open a queue of packets: is nfnetlink_queue in this kernel?")?;
        Ok(courier)
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the courier does not panic");
        }
    }
}

/// Enters the namespace with this thread and opens its queue.
fn open(space: &File) -> std::io::Result<Queue> {
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
    let mut queue = Queue::open()?;
    queue.bind(QUEUE)?;
    // What is in a packet is nobody's business here.
    queue.set_copy_range(QUEUE, 0)?;
    queue.set_recv_gso(QUEUE, true)?;
    queue.set_queue_max_len(QUEUE, 1 << 16)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

fn carry(mut queue: Queue, delay: &Range<Duration>, ends: &AtomicBool) {
    let mut held: BTreeMap<(Instant, u32), Message> = BTreeMap::new();
    let mut number = 0u32;
    loop {
        let ending = ends.load(Ordering::Relaxed);
        let now = Instant::now();
        loop {
            match queue.recv() {
                Ok(message) => {
                    number = number.wrapping_add(1);
                    held.insert((now + drawn(number, delay), number), message);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("receive a packet: {error}"),
            }
        }
        while let Some(first) = held.first_entry()
            && (ending || first.key().0 <= now)
        {
            let mut message = first.remove();
            message.set_verdict(Verdict::Accept);
            queue.verdict(message).expect("let a packet go");
        }
        if ending {
            return;
        }
        // The step of this clock (tidy: thread::sleep).
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A time within `delay`: numbers in a row are spread over it (Knuth's multiplicative hash).
fn drawn(number: u32, delay: &Range<Duration>) -> Duration {
    let share = f64::from(number.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX);
    delay.start + (delay.end - delay.start).mul_f64(share)
}
