//! A disk in memory that knows what a crash may take away.
//!
//! Each file keeps what is durable beside what was written since; names likewise. [`SimDisk::crash`] makes the disk a
//! process would find afterwards. Model: unsynced writes of a file survive in any subset and may be torn at sectors;
//! names survive as a prefix of their changes (a journalling file system), and `sync_dir` makes every name change up
//! to the last one in that directory durable. Everything is deterministic: the same calls and seed, the same image.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DirEntry, Disk, DiskFile, OpenMode};

/// What a torn write is a multiple of, as on real disks.
const SECTOR_BYTES: u64 = 512;

/// What is left after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashImage {
    /// The process died, the machine did not: everything written is there.
    ProcessKilled,
    /// Power loss at its worst: nothing unsynced is there.
    LoseUnsynced,
    /// Power loss in between: some unsynced writes are there, some in part, by this seed.
    Torn(u64),
}

/// What goes wrong, counted in operations that change the disk (writes, lengths, syncs, names).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SimFault {
    /// Operation number `n` (from 0) and all after it fail without effect: the moment of a crash.
    StopAt(u64),
    /// The `n`-th sync from now (from 0) fails, and what it should have made durable is lost for ever.
    FailSync(u64),
    /// The `n`-th write from now (from 0) fails after half of its bytes.
    FailWrite(u64),
    /// Writes that make the sum of all lengths exceed this many bytes fail.
    Full(u64),
}

/// A disk in memory; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    names: Names,
    durable_names: Names,
    name_changes: Vec<NameChange>,
    locked: HashMap<PathBuf, ()>,
    operations: u64,
    stop_at: Option<u64>,
    fail_sync: Option<u64>,
    fail_write: Option<u64>,
    full_at: Option<u64>,
    sick_dir: Option<PathBuf>,
    clock_ms: i64,
}

type Names = BTreeMap<PathBuf, Node>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Dir,
    File(u64),
}

#[derive(Debug, Default, Clone)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    modified_ms: i64,
}

#[derive(Debug, Clone)]
enum Change {
    Write { position: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Debug, Clone)]
enum NameChange {
    Put(PathBuf, Node),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl SimDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations have changed the disk so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// What files' modification times are set to from now on.
    pub fn set_clock_ms(&self, ms: i64) {
        self.state.lock().clock_ms = ms;
    }

    /// Arms a fault.
    pub fn inject(&self, fault: SimFault) {
        let mut state = self.state.lock();
        match fault {
            SimFault::StopAt(n) => state.stop_at = Some(n),
            SimFault::FailSync(n) => state.fail_sync = Some(n),
            SimFault::FailWrite(n) => state.fail_write = Some(n),
            SimFault::Full(bytes) => state.full_at = Some(bytes),
        }
    }

    /// Everything in `dir` fails from now on, to be read or written: one disk of several.
    pub fn fail_dir(&self, dir: &Path) {
        self.state.lock().sick_dir = Some(dir.to_owned());
    }

    /// Whether an operation was refused because of [`SimFault::StopAt`].
    pub fn stopped(&self) -> bool {
        let state = self.state.lock();
        state.stop_at.is_some_and(|stop_at| state.operations > stop_at)
    }

    /// Disarms all faults.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        (state.stop_at, state.fail_sync, state.fail_write, state.full_at) = (None, None, None, None);
        state.sick_dir = None;
    }

    /// The disk as the next process finds it. This one stays as it is.
    pub fn crash(&self, image: CrashImage) -> SimDisk {
        let state = self.state.lock();
        let mut random = SplitMix(match image {
            CrashImage::Torn(seed) => seed,
            _ => 0,
        });
        let names = match image {
            CrashImage::ProcessKilled => state.names.clone(),
            CrashImage::LoseUnsynced => state.durable_names.clone(),
            CrashImage::Torn(_) => {
                let mut names = state.durable_names.clone();
                let kept = random.below(state.name_changes.len() as u64 + 1) as usize;
                state.name_changes[..kept].iter().for_each(|change| change.apply(&mut names));
                names
            }
        };
        let mut after = State { next_inode: state.next_inode, clock_ms: state.clock_ms, ..State::default() };
        for node in names.values() {
            let Node::File(id) = node else { continue };
            let inode = &state.inodes[id];
            let data = match image {
                CrashImage::ProcessKilled => inode.data.clone(),
                CrashImage::LoseUnsynced => inode.durable.clone(),
                CrashImage::Torn(_) => inode.torn(&mut random),
            };
            let inode =
                Inode { durable: data.clone(), data, unsynced: Vec::new(), modified_ms: inode.modified_ms };
            after.inodes.insert(*id, inode);
        }
        after.durable_names = names.clone();
        after.names = names;
        SimDisk { state: Arc::new(Mutex::new(after)) }
    }
}

impl State {
    /// Counts one operation that changes the disk; fails from the armed stop on.
    fn check_health(&self, path: &Path) -> io::Result<()> {
        match &self.sick_dir {
            Some(dir) if path.starts_with(dir) => Err(io::Error::other("injected error of a directory")),
            _ => Ok(()),
        }
    }

    fn operate(&mut self, path: &Path) -> io::Result<()> {
        self.operations += 1;
        self.check_health(path)?;
        match self.stop_at {
            Some(stop_at) if self.operations > stop_at => Err(io::Error::other("the machine has stopped")),
            _ => Ok(()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn file_id(&self, path: &Path) -> io::Result<u64> {
        match self.names.get(path) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|inode| inode.data.len() as u64).sum()
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Put(path, node) => {
                names.insert(path.clone(), *node);
            }
            NameChange::Remove(path) => {
                names.retain(|name, _| !name.starts_with(path));
            }
            NameChange::Rename(from, to) => {
                let moved: Vec<_> =
                    names.range(from.clone()..).map(|(name, node)| (name.clone(), *node)).collect();
                for (name, node) in moved {
                    if let Ok(rest) = name.strip_prefix(from) {
                        names.remove(&name);
                        let name = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                        names.insert(name, node);
                    }
                }
            }
        }
    }

    fn touches(&self, dir: &Path) -> bool {
        match self {
            NameChange::Put(path, _) | NameChange::Remove(path) => path.parent() == Some(dir),
            NameChange::Rename(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

impl Inode {
    fn torn(&self, random: &mut SplitMix) -> Vec<u8> {
        let mut data = self.durable.clone();
        for change in &self.unsynced {
            match (change, random.below(3)) {
                (_, 0) => {}
                (Change::Write { position, bytes }, 1) => {
                    let end = position + random.below(bytes.len() as u64 + 1);
                    let end = (end - end % SECTOR_BYTES).max(*position);
                    let kept = (end - position) as usize;
                    // The length may have become durable without the bytes.
                    let len = (position + bytes.len() as u64).max(data.len() as u64);
                    apply(&mut data, &Change::SetLen(len));
                    apply(&mut data, &Change::Write { position: *position, bytes: bytes[..kept].to_vec() });
                }
                (change, _) => apply(&mut data, change),
            }
        }
        data
    }
}

fn apply(data: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(len) => data.resize(*len as usize, 0),
        Change::Write { position, bytes } => {
            let start = *position as usize;
            let end = start + bytes.len();
            if data.len() < end {
                data.resize(end, 0);
            }
            data[start..end].copy_from_slice(bytes);
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.check_health(path)?;
        let id = match (state.file_id(path), mode) {
            (Ok(id), OpenMode::CreateEmpty) => {
                state.operate(path)?;
                let clock_ms = state.clock_ms;
                let inode = state.inodes.get_mut(&id).expect("a name has its inode");
                inode.data.clear();
                inode.unsynced.push(Change::SetLen(0));
                inode.modified_ms = clock_ms;
                id
            }
            (Ok(id), _) => id,
            (Err(error), OpenMode::Create | OpenMode::CreateEmpty)
                if error.kind() == io::ErrorKind::NotFound =>
            {
                state.operate(path)?;
                if !path.parent().is_some_and(|dir| state.names.get(dir) == Some(&Node::Dir)) {
                    return Err(error);
                }
                let id = state.next_inode;
                state.next_inode += 1;
                let modified_ms = state.clock_ms;
                state.inodes.insert(id, Inode { modified_ms, ..Inode::default() });
                state.change_name(NameChange::Put(path.to_owned(), Node::File(id)));
                id
            }
            (Err(error), _) => return Err(error),
        };
        Ok(Arc::new(SimFile { id, path: path.to_owned(), state: self.state.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state.lock();
        state.check_health(dir)?;
        if state.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(state
            .names
            .range(dir.to_owned()..)
            .take_while(|(name, _)| name.starts_with(dir))
            .filter(|(name, _)| name.parent() == Some(dir))
            .filter_map(|(name, node)| {
                let name = name.file_name()?.to_str()?.to_owned();
                Some(match node {
                    Node::Dir => DirEntry { name, is_dir: true, len: 0 },
                    Node::File(id) => {
                        DirEntry { name, is_dir: false, len: state.inodes[id].data.len() as u64 }
                    }
                })
            })
            .collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let ancestors: Vec<PathBuf> = dir.ancestors().map(Path::to_owned).collect();
        for dir in ancestors.into_iter().rev() {
            if !state.names.contains_key(&dir) {
                state.operate(&dir)?;
                state.change_name(NameChange::Put(dir, Node::Dir));
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(from)?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(path)?;
        state.file_id(path)?;
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(dir)?;
        if state.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Remove(dir.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(dir)?;
        if let Some(last) = state.name_changes.iter().rposition(|change| change.touches(dir)) {
            let durable: Vec<_> = state.name_changes.drain(..=last).collect();
            durable.iter().for_each(|change| change.apply(&mut state.durable_names));
        }
        Ok(())
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        let mut guard = self.state.lock();
        guard.operate(dir)?;
        let state = &mut *guard;
        let fails = strikes(&mut state.fail_sync);
        for inode in state.inodes.values_mut() {
            let unsynced = std::mem::take(&mut inode.unsynced);
            if !fails {
                unsynced.iter().for_each(|change| apply(&mut inode.durable, change));
            }
        }
        if fails {
            return Err(io::Error::other("injected sync error"));
        }
        let changes = std::mem::take(&mut state.name_changes);
        changes.iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync + Debug>>> {
        self.open(path, OpenMode::Create)?;
        let mut state = self.state.lock();
        if state.locked.insert(path.to_owned(), ()).is_some() {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { path: path.to_owned(), state: self.state.clone() })))
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        let state = self.state.lock();
        Ok(state.inodes[&state.file_id(path)?].modified_ms)
    }

    fn set_modified_ms(&self, path: &Path, ms: i64) -> io::Result<()> {
        let mut state = self.state.lock();
        let id = state.file_id(path)?;
        state.inodes.get_mut(&id).expect("a name has its inode").modified_ms = ms;
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<(u64, u64)> {
        let state = self.state.lock();
        let total = state.full_at.unwrap_or(1 << 40);
        Ok((total, total.saturating_sub(state.used())))
    }
}

#[derive(Debug)]
struct SimLock {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.state.lock().locked.remove(&self.path);
    }
}

struct SimFile {
    id: u64,
    /// When it was opened.
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFile({})", self.id)
    }
}

impl SimFile {
    fn change(&self, state: &mut State, change: Change) {
        let clock_ms = state.clock_ms;
        let inode = state.inodes.get_mut(&self.id).expect("an open file has its inode");
        apply(&mut inode.data, &change);
        inode.unsynced.push(change);
        inode.modified_ms = clock_ms;
    }
}

/// Counts down an armed fault; true when it strikes.
fn strikes(counter: &mut Option<u64>) -> bool {
    match counter {
        Some(0) => {
            *counter = None;
            true
        }
        Some(n) => {
            *n -= 1;
            false
        }
        None => false,
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.state.lock();
        state.check_health(&self.path)?;
        let data = &state.inodes[&self.id].data;
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(data.len());
        let n = buf.len().min(data.len() - start);
        buf[..n].copy_from_slice(&data[start..start + n]);
        Ok(n)
    }

    fn write_all_vectored_at(&self, bufs: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(&self.path)?;
        let mut bytes = Vec::with_capacity(bufs.iter().map(|buf| buf.len()).sum());
        bufs.iter().for_each(|buf| bytes.extend_from_slice(buf));
        if strikes(&mut state.fail_write) {
            bytes.truncate(bytes.len() / 2);
            self.change(&mut state, Change::Write { position, bytes });
            return Err(io::Error::other("injected write error"));
        }
        if let Some(full_at) = state.full_at {
            let len = state.inodes[&self.id].data.len() as u64;
            let grows = (position + bytes.len() as u64).saturating_sub(len);
            if state.used() + grows > full_at {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.change(&mut state, Change::Write { position, bytes });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().inodes[&self.id].data.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(&self.path)?;
        self.change(&mut state, Change::SetLen(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(&self.path)?;
        let fails = strikes(&mut state.fail_sync);
        let inode = state.inodes.get_mut(&self.id).expect("an open file has its inode");
        let unsynced = std::mem::take(&mut inode.unsynced);
        if fails {
            return Err(io::Error::other("injected sync error"));
        }
        unsynced.iter().for_each(|change| apply(&mut inode.durable, change));
        Ok(())
    }

    fn allocate(&self, _position: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A small deterministic generator for crash images.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_takes_unsynced_bytes_and_names() {
        let disk = SimDisk::new();
        let dir = Path::new("/d");
        disk.create_dir(dir).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let file = disk.open(&dir.join("a"), OpenMode::Create).unwrap();
        file.write_all_at(b"one", 0).unwrap();
        file.sync().unwrap();
        assert!(disk.crash(CrashImage::LoseUnsynced).list(dir).unwrap().is_empty());
        disk.sync_dir(dir).unwrap();
        file.write_all_at(b"two", 3).unwrap();
        let read = |disk: SimDisk| super::super::read_file(&disk, &dir.join("a")).unwrap();
        assert_eq!(read(disk.crash(CrashImage::LoseUnsynced)), b"one");
        assert_eq!(read(disk.crash(CrashImage::ProcessKilled)), b"onetwo");
        disk.inject(SimFault::FailSync(0));
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(read(disk.crash(CrashImage::LoseUnsynced)), b"one", "a failed sync is final");
    }
}
