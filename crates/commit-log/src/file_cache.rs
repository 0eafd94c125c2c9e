//! Files that are opened when they are needed, behind a bound on how many are open at once.
//!
//! Owns the open descriptors of one process' logs. A [`FileHandle`] is a name that stays valid whether its file is
//! open or not; who needs the bytes asks [`FileHandle::get`] and may keep what it gets for as long as it reads: a file
//! pushed out of the cache closes when its last user is done, and one that was removed stays readable until then.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, OpenMode};

/// The bound on open files, shared by all logs of a process, and the disk they lie on.
#[derive(Debug)]
pub struct FileCache {
    disk: Arc<dyn Disk>,
    open_files_max: usize,
    /// Files in the cache in the order in which they are looked at for eviction (second chance).
    clock: Mutex<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    hand: usize,
    open: Vec<Weak<FileHandle>>,
}

impl FileCache {
    /// `open_files_max`: how many files may stay open while nobody uses them.
    pub fn new(disk: Arc<dyn Disk>, open_files_max: usize) -> Arc<Self> {
        Arc::new(Self { disk, open_files_max: open_files_max.max(4), clock: Mutex::default() })
    }

    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// A handle for a file that need not exist yet.
    pub(crate) fn handle(self: &Arc<Self>, path: PathBuf) -> Arc<FileHandle> {
        Arc::new(FileHandle {
            cache: self.clone(),
            used: AtomicBool::new(false),
            state: Mutex::new(HandleState { path, file: None }),
        })
    }

    /// Enters a freshly opened file and closes others when there are too many.
    fn admit(&self, handle: &Arc<FileHandle>) {
        let mut clock = self.clock.lock();
        if clock.open.len() < self.open_files_max {
            clock.open.push(Arc::downgrade(handle));
            return;
        }
        for _ in 0..2 * clock.open.len() {
            let hand = clock.hand % clock.open.len();
            clock.hand = hand + 1;
            let Some(candidate) = clock.open[hand].upgrade() else {
                clock.open[hand] = Arc::downgrade(handle);
                return;
            };
            if Arc::ptr_eq(&candidate, handle) {
                return;
            }
            if candidate.used.swap(false, Ordering::Relaxed) {
                continue;
            }
            // A handle that is being opened right now is skipped rather than waited for.
            let Some(mut state) = candidate.state.try_lock() else { continue };
            state.file = None;
            clock.open[hand] = Arc::downgrade(handle);
            return;
        }
        // Everything is busy: exceed the bound by one rather than fail.
        clock.open.push(Arc::downgrade(handle));
    }
}

/// One file by name.
#[derive(Debug)]
pub struct FileHandle {
    cache: Arc<FileCache>,
    used: AtomicBool,
    state: Mutex<HandleState>,
}

#[derive(Debug)]
struct HandleState {
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
}

impl FileHandle {
    /// The open file, opened now if it was not. Fails with `NotFound` if it was removed (or never created).
    pub fn get(self: &Arc<Self>) -> io::Result<Arc<dyn DiskFile>> {
        self.get_with(OpenMode::ReadWrite)
    }

    /// Like [`Self::get`], but creates the file if it is not there.
    pub(crate) fn get_or_create(self: &Arc<Self>) -> io::Result<Arc<dyn DiskFile>> {
        self.get_with(OpenMode::Create)
    }

    fn get_with(self: &Arc<Self>, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = {
            let mut state = self.state.lock();
            self.used.store(true, Ordering::Relaxed);
            if let Some(file) = &state.file {
                return Ok(file.clone());
            }
            let file = self.cache.disk.open(&state.path, mode)?;
            state.file = Some(file.clone());
            file
        };
        self.cache.admit(self);
        Ok(file)
    }

    pub fn path(&self) -> PathBuf {
        self.state.lock().path.clone()
    }

    /// Forgets the open file; the next use opens it anew.
    pub(crate) fn close(&self) {
        self.state.lock().file = None;
    }

    /// Renames the file on the disk; an open one stays open. A file that does not exist only changes its name here.
    pub(crate) fn rename(&self, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        match self.cache.disk.rename(&state.path, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => state.path = to.to_owned(),
        }
        Ok(())
    }

    /// The file's directory was renamed: only the name changes.
    pub(crate) fn moved_to(&self, dir: &Path) {
        let mut state = self.state.lock();
        if let Some(name) = state.path.file_name() {
            state.path = dir.join(name);
        }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        self.cache.disk()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    #[test]
    fn files_beyond_the_bound_are_closed_and_come_back() {
        let disk = SimDisk::new();
        disk.create_dir(Path::new("/d")).unwrap();
        let cache = FileCache::new(Arc::new(disk), 4);
        let handles: Vec<_> = (0..40).map(|n| cache.handle(PathBuf::from(format!("/d/{n}")))).collect();
        for (n, handle) in handles.iter().enumerate() {
            handle.get_or_create().unwrap().write_all_at(&[n as u8], 0).unwrap();
        }
        let open = || handles.iter().filter(|handle| handle.state.lock().file.is_some()).count();
        assert!(open() <= 5, "{}", open());
        for (n, handle) in handles.iter().enumerate() {
            let mut byte = [0];
            handle.get().unwrap().read_exact_at(&mut byte, 0).unwrap();
            assert_eq!(byte, [n as u8]);
        }
        assert!(open() <= 5, "{}", open());
    }
}
