//! Where audit lines go: standard output, or a file that is rotated by its size and age, or by somebody else.

use super::audit::rfc3339;
use crate::config::RotateConfig;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What is to be done about the file before more is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Nothing.
    Stay,
    /// Somebody renamed or removed it: a new one is to be opened.
    Moved,
    /// Somebody copied it and cut it to nothing.
    Cut,
    /// It is large or old enough: it is to be renamed and a new one opened.
    Full,
}

/// Takes lines.
pub(super) trait Output: Send + 'static {
    /// Writes some of the bytes, and tells how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Sees the bytes out of our own memory.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Takes the last bytes back; `false` where that cannot be done.
    fn take_back(&mut self, _bytes: usize) -> bool {
        false
    }

    /// Sees everything onto the disk.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Looks whether a new file is called for.
    fn turn(&mut self, _now: SystemTime) -> Turn {
        Turn::Stay
    }

    /// Begins a new file. When it fails, the old one is still written to.
    fn renew(&mut self, _turn: Turn, _now: SystemTime) -> io::Result<()> {
        Ok(())
    }

    /// Removes the oldest of the files that were left, but for as many as are to be kept.
    fn prune(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether more could be written, as far as can be told without writing it.
    fn probe(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Keeps a text beside the log, in place of the one before.
    fn keep(&mut self, _text: &str) -> io::Result<()> {
        Ok(())
    }
}

/// An output without rotation.
pub(super) struct Plain<W>(pub(super) W);

impl<W: Write + Send + 'static> Output for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A file that is appended to. Made with mode 0600.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// As far as we know.
    length: u64,
    opened: SystemTime,
    rotate: RotateConfig,
    locked: bool,
}

impl LogFile {
    pub(super) fn open(path: &Path, rotate: RotateConfig, now: SystemTime) -> io::Result<Self> {
        let file = appended(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length, opened: now, rotate, locked: false })
    }

    /// Keeps others who seal away; `false` when one has it already. What is no file is not locked.
    pub(super) fn lock(&mut self) -> bool {
        self.locked = true;
        !self.file.metadata().is_ok_and(|is| is.is_file())
            || !matches!(self.file.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// The last bytes of the file, `most` of them at the most; nothing of what is no regular file.
    pub(super) fn tail(&self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.file.metadata()?.is_file() && self.length > 0 {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.length.saturating_sub(most)))?;
            file.take(most).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// What was [kept](Output::keep) beside it.
    pub(super) fn kept(&self) -> Option<String> {
        kept_beside(&self.path)
    }

    /// Puts the file aside under another name, and begins a new one. Tells the name.
    pub(super) fn set_aside(&mut self, now: SystemTime) -> io::Result<PathBuf> {
        let aside = beside(&self.path, &format!("unsealed-{}", stamp(now)));
        self.rename(&aside)?;
        self.reopen(now)?;
        Ok(aside)
    }

    fn rename(&self, to: &Path) -> io::Result<()> {
        // Renaming would put it in the place of what is there.
        if fs::symlink_metadata(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.path, to)
    }

    fn reopen(&mut self, now: SystemTime) -> io::Result<()> {
        let file = appended(&self.path)?;
        // Nobody else is to have opened the new one first.
        if self.locked && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.file = file;
        self.length = self.file.metadata()?.len();
        self.opened = now;
        Ok(())
    }

    fn is_full(&self, is: &Metadata, now: SystemTime) -> bool {
        let begun = is.created().unwrap_or(self.opened);
        let age = now.duration_since(begun).unwrap_or_default();
        self.rotate.max_bytes.is_some_and(|most| is.len() >= most)
            || self.rotate.max_age.is_some_and(|most| age >= most)
    }
}

impl Output for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.length = self.length.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn take_back(&mut self, bytes: usize) -> bool {
        let Ok(is) = self.file.metadata() else { return false };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // Another length means that somebody else has a hand in it.
        let Some(length) = self.length.checked_sub(bytes).filter(|_| is.len() == self.length)
        else {
            return false;
        };
        let done = is.is_file() && self.file.set_len(length).is_ok();
        if done {
            self.length = length;
        }
        done
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.file.sync_data() {
            // A device or a pipe has nothing to be synced.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    fn turn(&mut self, now: SystemTime) -> Turn {
        let Ok(is) = self.file.metadata() else { return Turn::Stay };
        let same = |there: Metadata| (there.dev(), there.ino()) == (is.dev(), is.ino());
        if !fs::metadata(&self.path).is_ok_and(same) {
            return Turn::Moved;
        }
        let cut = is.len() < self.length;
        self.length = is.len();
        if cut {
            Turn::Cut
        } else if is.is_file() && is.len() > 0 && self.is_full(&is, now) {
            Turn::Full
        } else {
            Turn::Stay
        }
    }

    fn renew(&mut self, turn: Turn, now: SystemTime) -> io::Result<()> {
        match turn {
            Turn::Stay | Turn::Cut => Ok(()),
            Turn::Moved => self.reopen(now),
            Turn::Full => {
                self.rename(&beside(&self.path, &stamp(now)))?;
                self.reopen(now)
            }
        }
    }

    fn prune(&mut self) -> io::Result<()> {
        let Some(keep) = self.rotate.keep else { return Ok(()) };
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Ok(());
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let prefix = format!("{}.", name.to_string_lossy());
        let mut rotated = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix(&prefix).is_some_and(is_stamp) {
                rotated.push(entry.path());
            }
        }
        rotated.sort();
        let surplus = rotated.len().saturating_sub(keep.get());
        // One that stays keeps none of the others.
        let removed = rotated.iter().take(surplus).map(fs::remove_file);
        removed.fold(Ok(()), Result::and)
    }

    fn probe(&mut self) -> io::Result<()> {
        /// More than what a file system keeps beside a file's name.
        const ROOM: [u8; 16 * 1024] = [b' '; 16 * 1024];
        if !self.file.metadata()?.is_file() {
            return Ok(());
        }
        let path = beside(&self.path, "probe");
        let written = private(&path).and_then(|mut file| file.write_all(&ROOM));
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    fn keep(&mut self, text: &str) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            return Ok(());
        }
        let next = beside(&self.path, "state.new");
        let mut file = private(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(next, beside(&self.path, "state"))
    }
}

/// What was [kept](Output::keep) beside the log at `path`.
pub(super) fn kept_beside(path: &Path) -> Option<String> {
    /// Two lines of text.
    const MOST: u64 = 4096;
    let mut text = String::new();
    let file = File::open(beside(path, "state")).ok()?;
    file.take(MOST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn appended(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// `path.suffix`
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    name.into()
}

/// A time that sorts as text and is fit for a file name: `20261123T081500.123456Z`.
fn stamp(at: SystemTime) -> String {
    rfc3339(at).chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

fn is_stamp(text: &str) -> bool {
    let pattern = "00000000T000000.000000Z";
    text.len() == pattern.len()
        && text
            .bytes()
            .zip(pattern.bytes())
            .all(|(byte, like)| if like == b'0' { byte.is_ascii_digit() } else { byte == like })
}
