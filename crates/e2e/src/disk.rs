//! A disk that can be broken: a loop-mounted ext4 that runs full and loses its power.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::network::run;

/// What a node's data directory lies on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disk {
    /// The file system of the temporary directory.
    Plain,
    /// An ext4 of so many MiB on a loop device, to be filled or to lose its power.
    Loop(u32),
    /// The node has a second directory, on such an ext4.
    Second(u32),
}

/// A mounted file system; unmounted on drop.
#[derive(Debug)]
pub struct Mount {
    dir: PathBuf,
    image: PathBuf,
}

impl Mount {
    /// Mounts what `disk` asks for at `dir`; `None` for a plain one.
    pub fn make(disk: Disk, dir: &Path) -> Result<Option<Mount>> {
        match disk {
            Disk::Plain => Ok(None),
            Disk::Loop(mib) | Disk::Second(mib) => {
                let image = dir.with_extension("ext4");
                let file = File::create(&image).context("create the image of a disk")?;
                file.set_len(u64::from(mib) << 20).context("size the image of a disk")?;
                run(&format!("mkfs.ext4 -q -F {}", image.display()))?;
                let mount = Mount { dir: dir.into(), image };
                mount.attach()?;
                // A directory that Apache Kafka takes for a partition's.
                fs::remove_dir(dir.join("lost+found")).context("clear a disk")?;
                Ok(Some(mount))
            }
        }
    }

    fn attach(&self) -> Result<()> {
        run(&format!("mount -o loop {} {}", self.image.display(), self.dir.display()))
    }

    /// Fills the disk to the last byte with one file beside the logs.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler()).context("create the filler")?;
        let block = vec![0; 1 << 16];
        let mut size = block.len();
        while size > 0 {
            match file.write_all(&block[..size]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 16,
                Err(error) => bail!("fill {}: {error}", self.dir.display()),
            }
        }
        Ok(())
    }

    /// Makes room again.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("remove the filler")
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }

    /// Cuts the power: from now on nothing reaches the disk, what was not synced is gone. The process on it is to be
    /// killed, then [`Mount::restore`] called.
    pub fn lose_power(&self) -> Result<()> {
        // FS_IOC_SHUTDOWN without a flush of the journal; Python, because the call needs `unsafe` here.
        let code =
            "import fcntl,os,sys;fcntl.ioctl(os.open(sys.argv[1],os.O_RDONLY),0x8004587d,b'\\2\\0\\0\\0')";
        let output = std::process::Command::new("python3")
            .args(["-c", code])
            .arg(&self.dir)
            .output()
            .context("run python3")?;
        if !output.status.success() {
            bail!("cut the power of {}: {}", self.dir.display(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Power is back: mounts again what was synced.
    pub fn restore(&self) -> Result<()> {
        run(&format!("umount {}", self.dir.display()))?;
        self.attach()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run(&format!("umount {}", self.dir.display()));
    }
}
