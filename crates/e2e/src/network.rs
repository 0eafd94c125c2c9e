//! Hosts on one switch: a network namespace per node, veth pairs to a bridge where the clients sit, and links that can
//! be cut or slowed down in one direction or both.
//!
//! Everything carries the process id in its name and is removed on drop; what a killed run left behind is removed by
//! the next one. A machine that cannot do this is an error, never a skipped test.

mod courier;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use courier::{Courier, QUEUE};

/// The host number of the clients: the bridge's own address.
pub const CLIENTS: usize = 14;

/// A bridge with hosts 1, 2, …, at most 13.
#[derive(Debug)]
pub struct Network {
    tag: String,
    base: u32,
    hosts: usize,
    /// Who carries the packets of slow links, while there are any, in each host's namespace.
    couriers: Mutex<BTreeMap<usize, Courier>>,
}

impl Network {
    /// Makes the bridge, the namespaces and the table of cuts.
    pub fn make(hosts: usize) -> Result<Network> {
        ensure!((1..CLIENTS).contains(&hosts), "a network has 1 to {} hosts", CLIENTS - 1);
        static MADE: AtomicU32 = AtomicU32::new(0);
        sweep();
        let (pid, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        // 100.64.0.0/10 is routed nowhere; 16 addresses for each network of each process.
        let base = u32::from(Ipv4Addr::new(100, 64, 0, 0)) | ((pid * 16 + number % 16) & 0x3_ffff) << 4;
        let network =
            Network { tag: format!("oe{pid}.{}", number % 16), base, hosts, couriers: Mutex::default() };
        network.build().context(
            "make network namespaces: suites of several nodes need root, iproute2 and nftables, and a kernel with \
             veth, bridge and nf_tables_bridge",
        )?;
        Ok(network)
    }

    fn build(&self) -> Result<()> {
        let bridge = &self.tag;
        run(&format!("ip link add {bridge} type bridge"))?;
        run(&format!("ip addr add {}/28 dev {bridge}", self.address(CLIENTS)))?;
        run(&format!("ip link set {bridge} up"))?;
        for host in 1..=self.hosts {
            let (space, wire) = (self.namespace(host), format!("{bridge}.{host}"));
            run(&format!("ip netns add {space}"))?;
            run(&format!("ip link add {wire} type veth peer name eth0 netns {space}"))?;
            run(&format!("ip link set {wire} master {bridge} up"))?;
            run(&format!("ip -n {space} addr add {}/28 dev eth0", self.address(host)))?;
            run(&format!("ip -n {space} link set eth0 up"))?;
            run(&format!("ip -n {space} link set lo up"))?;
        }
        let table = self.table();
        run(&format!("nft add table bridge {table}"))?;
        run(&format!("nft add set bridge {table} cut {{ type ipv4_addr . ipv4_addr ; }}"))?;
        run(&format!("nft add set bridge {table} closed {{ type ipv4_addr . ipv4_addr . inet_service ; }}"))?;
        for hook in ["forward", "input", "output"] {
            run(&format!("nft add chain bridge {table} {hook} {{ type filter hook {hook} priority 0 ; }}"))?;
            run(&format!("nft add rule bridge {table} {hook} ip saddr . ip daddr @cut drop"))?;
            run(&format!("nft add rule bridge {table} {hook} ip saddr . ip daddr . tcp dport @closed drop"))?;
        }
        Ok(())
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        Ipv4Addr::from(self.base | host as u32)
    }

    /// The namespace of a host, as `nsenter --net=/run/netns/NAME` takes it.
    pub fn namespace(&self, host: usize) -> String {
        format!("{}.{host}", self.tag)
    }

    /// From now on nothing that `from` sends reaches `to`.
    pub fn cut(&self, from: usize, to: usize) -> Result<()> {
        let pair = format!("{} . {}", self.address(from), self.address(to));
        run(&format!("nft add element bridge {} cut {{ {pair} }}", self.table()))
    }

    /// From now on nothing that `from` sends reaches this port of `to`.
    pub fn close_port(&self, from: usize, to: usize, port: u16) -> Result<()> {
        let pair = format!("{} . {} . {port}", self.address(from), self.address(to));
        run(&format!("nft add element bridge {} closed {{ {pair} }}", self.table()))
    }

    /// From now on what one sends to the other of each pair arrives after a time within `delay`, in no order.
    pub fn slow(&self, pairs: &[(usize, usize)], delay: Range<Duration>) -> Result<()> {
        let mut couriers = self.couriers.lock().expect("courier lock");
        for (from, to) in pairs {
            let (host, which) = match *from {
                CLIENTS => (*to, format!("INPUT -s {}", self.address(CLIENTS))),
                from => (from, format!("OUTPUT -d {}", self.address(*to))),
            };
            if let Entry::Vacant(entry) = couriers.entry(host) {
                entry.insert(Courier::start(&self.namespace(host), delay.clone())?);
            }
            // nft's own queue statement is a kernel module more.
            self.iptables(host, &format!("-A {which} -j NFQUEUE --queue-num {QUEUE} --queue-bypass"))?;
        }
        Ok(())
    }

    fn iptables(&self, host: usize, words: &str) -> Result<()> {
        run(&format!("nsenter --net=/run/netns/{} iptables -w {words}", self.namespace(host)))
    }

    /// Every link works again.
    pub fn heal(&self) -> Result<()> {
        for (host, courier) in std::mem::take(&mut *self.couriers.lock().expect("courier lock")) {
            self.iptables(host, "-F")?;
            drop(courier);
        }
        run(&format!("nft flush set bridge {} cut", self.table()))?;
        run(&format!("nft flush set bridge {} closed", self.table()))
    }

    fn table(&self) -> String {
        self.tag.replace('.', "_")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.tag);
    }
}

/// Removes what runs left that ended without dropping: networks and mounts of processes that are no more.
pub fn sweep() {
    let dead = |name: &str| {
        let pid = name.split(['.', '-']).next().unwrap_or_default();
        pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix("oe").is_some_and(dead) && name.matches('.').count() == 1 {
            remove(&name);
        }
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if path.split_once("/ottla-e2e-").is_some_and(|(_, rest)| dead(rest)) {
            let _ = run(&format!("umount {path}"));
        }
    }
}

fn remove(tag: &str) {
    let prefix = format!("{tag}.");
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) {
            // The veth pair goes with its inner end, but later: its name has to be free at once.
            let _ = run(&format!("ip link del {name}"));
            let _ = run(&format!("ip netns del {name}"));
        }
    }
    let _ = run(&format!("ip link del {tag}"));
    let _ = run(&format!("nft delete table bridge {}", tag.replace('.', "_")));
}

/// Runs a command given as words.
pub(crate) fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap_or_default())
        .args(words)
        .output()
        .with_context(|| format!("run `{line}`"))?;
    ensure!(output.status.success(), "`{line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
