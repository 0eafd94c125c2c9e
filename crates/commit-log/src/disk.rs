//! The only door to files: [`Disk`] (names) and [`DiskFile`] (bytes), with [`RealDisk`] and [`SimDisk`] behind it.
//!
//! Owns nothing but system calls. Must not know what the bytes mean. Every call is synchronous and may block; positions
//! are always explicit, so that one open file serves its writer and any number of readers at once. What is written is
//! visible to readers at once and durable only after `sync`; a created, renamed or removed name is durable only after
//! `sync_dir` of its directory.

mod real;
mod sim;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;
pub use sim::{CrashImage, SimDisk, SimFault};

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Must exist; never written.
    Read,
    /// Must exist; read and written.
    ReadWrite,
    /// Created if absent; read and written.
    Create,
    /// Created if absent, emptied if present; read and written.
    CreateEmpty,
}

/// What a directory holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name without its directory. Names that are not UTF-8 are not listed: Kafka writes none.
    pub name: String,
    pub is_dir: bool,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
}

/// Names and directories.
pub trait Disk: Send + Sync + Debug {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// What lies in a directory, sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Creates the directory and its parents; succeeds if it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file or a directory, replacing a file that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all it holds.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes everything that was written to the file system of `dir` durable, names too: cheaper than syncing very many
    /// files. `Unsupported` where the system cannot do it or would not tell of errors.
    fn sync_all(&self, dir: &Path) -> io::Result<()>;

    /// Takes an exclusive lock on a file, creating it, that another process (Apache Kafka too) respects. It is held
    /// until the returned guard is dropped. `None`: somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync + Debug>>>;

    /// Last modification in milliseconds since the epoch.
    fn modified_ms(&self, path: &Path) -> io::Result<i64>;

    fn set_modified_ms(&self, path: &Path, ms: i64) -> io::Result<()>;

    /// (total, usable) bytes of the file system under `path`.
    fn space(&self, path: &Path) -> io::Result<(u64, u64)>;
}

/// One open file. Dropping the last reference closes it.
pub trait DiskFile: Send + Sync + Debug {
    /// Reads at most `buf.len()` bytes; 0 at or behind the end.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all slices one after the other from `position` on. On an error any prefix may have been written.
    fn write_all_vectored_at(&self, bufs: &mut [IoSlice<'_>], position: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes written so far (and the length) durable. An error is final: what was not synced may be gone.
    fn sync(&self) -> io::Result<()>;

    /// Reserves space for `len` bytes from `position` on without changing the length. A hint: a file system
    /// without it does nothing.
    fn allocate(&self, position: u64, len: u64) -> io::Result<()>;

    /// Gives back what was reserved behind the length.
    fn release(&self) -> io::Result<()> {
        let len = self.len()?;
        self.set_len(len)
    }

    /// For `sendfile`; `None` where there is no descriptor.
    fn as_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads exactly `buf.len()` bytes or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut buf: &mut [u8], mut position: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, position)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => {
                    buf = &mut buf[n..];
                    position += n as u64;
                }
            }
        }
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], position: u64) -> io::Result<()> {
        self.write_all_vectored_at(&mut [IoSlice::new(buf)], position)
    }
}

/// The whole content of a small file.
pub fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let len = file.len()?;
    let mut content = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// Replaces a small file so that after a crash either the old or the new content is there: written to
/// `<name>.tmp`, synced, renamed over the target, directory synced.
pub fn write_file_atomically(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    replace_file(disk, path, content)?;
    match path.parent() {
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}

/// Like [`write_file_atomically`], but whether it is the old or the new content that a crash leaves is open until the
/// caller syncs the directory.
pub fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = Path::new(&tmp);
    let file = disk.open(tmp, OpenMode::CreateEmpty)?;
    file.write_all_at(content, 0)?;
    file.sync()?;
    drop(file);
    disk.rename(tmp, path)
}
