//! Reads a snapshot without changing a byte of it: for people who look, beside or after the process that
//! keeps it. What the database would write (a repair after a crash, say) stays in memory.

use super::seal::Seal;
use super::{CACHE, Loader, Options, Place, Trouble, Unfit, check_records, guarded, records};
use redb::{Database, StorageBackend};
use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Why a snapshot cannot be looked at. It is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// A process keeps it, and may be writing.
    #[error("a running process uses it")]
    InUse,
    /// It cannot be trusted.
    #[error("it is not used: {0}")]
    Unfit(Unfit),
    /// It cannot be read.
    #[error("it cannot be read")]
    Disk(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The key cannot be used.
    #[error("its key cannot be used")]
    Key,
}

impl From<Trouble> for LookError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::InUse => Self::InUse,
            Trouble::Disk(cause) => Self::Disk(cause),
            Trouble::Unfit(reason) => Self::Unfit(reason),
        }
    }
}

/// Opens a snapshot that nobody keeps now, to be loaded only. `now` is the time of day.
///
/// # Errors
/// [`LookError`]; the file is as it was.
pub fn look(options: &Options, now: SystemTime) -> Result<Loader, LookError> {
    let (seal, head) =
        Seal::new(&options.binding, options.key.as_ref()).map_err(|_| LookError::Key)?;
    let place = Place { path: options.path.clone(), seal: Arc::new(seal), head };
    let file = File::open(&place.path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LookError::Missing,
        _ => LookError::Disk(error.into()),
    })?;
    is_kept(&file)?;
    let database = guarded(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        let database = builder.create_with_backend(Untouched::new(file)?)?;
        place.check_head(&database)?;
        check_records(&database, &place.seal, now)?;
        Ok(database)
    })?;
    let table = guarded(|| records(&database))?;
    Ok(Loader { table, seal: place.seal, _database: Arc::new(database) })
}

/// Whether a process keeps it. The lock is given back at once: it must never be in the way of a start.
fn is_kept(file: &File) -> Result<(), LookError> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map_err(|error| LookError::Disk(error.into())),
        Err(TryLockError::WouldBlock) => Err(LookError::InUse),
        Err(TryLockError::Error(error)) => Err(LookError::Disk(error.into())),
    }
}

const PAGE: usize = 4096;

/// A file that is only read; what is written stays in memory.
#[derive(Debug)]
struct Untouched {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// Bytes of the file that still count; past them all is zero.
    in_file: u64,
    /// Pages that were written to, whole.
    pages: HashMap<u64, Vec<u8>>,
}

impl Untouched {
    fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let state = State { len, in_file: len, pages: HashMap::new() };
        Ok(Self { file, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes as the file has them, zero past what counts of it.
    fn read_file(&self, in_file: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let there = usize::try_from(in_file.saturating_sub(offset)).unwrap_or(usize::MAX);
        let there = there.min(out.len());
        out.get_mut(..there).map_or(Ok(()), |out| self.file.read_exact_at(out, offset))
    }

    fn page(&self, state: &State, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = state.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE];
        self.read_file(state.in_file, number * PAGE_LONG, &mut page)?;
        Ok(page)
    }
}

const PAGE_LONG: u64 = 4096;

/// Which page holds this byte, and where in it.
fn place_of(offset: u64) -> (u64, usize) {
    // INVARIANT: a remainder below 4096 fits.
    (offset / PAGE_LONG, usize::try_from(offset % PAGE_LONG).unwrap_or_default())
}

fn long(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl StorageBackend for Untouched {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset.checked_add(long(out.len())).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(state.in_file, offset, out)?;
        let (mut rest, mut at) = (out, offset);
        while !rest.is_empty() && !state.pages.is_empty() {
            let (number, within) = place_of(at);
            let count = rest.len().min(PAGE - within);
            let (now, later) = rest.split_at_mut(count);
            let written =
                state.pages.get(&number).and_then(|page| page.get(within..within + count));
            if let Some(written) = written {
                now.copy_from_slice(written);
            }
            (rest, at) = (later, at + long(count));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let (last, within) = place_of(len);
        state.pages.retain(|number, _| *number <= last);
        if let Some(tail) = state.pages.get_mut(&last).and_then(|page| page.get_mut(within..)) {
            tail.fill(0);
        }
        (state.len, state.in_file) = (len, state.in_file.min(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let (mut rest, mut at) = (data, offset);
        while !rest.is_empty() {
            let (number, within) = place_of(at);
            let (now, later) = rest.split_at(rest.len().min(PAGE - within));
            let mut page = self.page(&state, number)?;
            if let Some(place) = page.get_mut(within..within + now.len()) {
                place.copy_from_slice(now);
            }
            state.pages.insert(number, page);
            (rest, at) = (later, at + long(now.len()));
        }
        state.len = state.len.max(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open;
    use crate::sync::ports::{Saved, Store as _};
    use std::fs;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn options(folder: &tempfile::TempDir) -> Options {
        let path = folder.path().join("register.redb");
        Options { path, binding: b"tt02".to_vec(), key: None }
    }

    fn loaded(options: &Options) -> Result<Vec<Saved>, LookError> {
        let mut all = Vec::new();
        look(options, at(10))?.load(&mut |saved| all.push(saved)).unwrap();
        Ok(all)
    }

    #[test]
    fn a_snapshot_is_read_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        assert!(matches!(loaded(&options), Err(LookError::Missing)));
        assert!(!options.path.exists());
        let mut opened = open(&options, at(10)).unwrap();
        opened.store.save(vec![Saved::LastSaved(at(5))]).unwrap();
        assert!(matches!(loaded(&options), Err(LookError::InUse)));
        drop(opened);
        let before = fs::read(&options.path).unwrap();
        assert_eq!(loaded(&options).unwrap(), [Saved::LastSaved(at(5))]);
        let other = Options { binding: b"prod".to_vec(), ..options.clone() };
        assert!(matches!(loaded(&other), Err(LookError::Unfit(Unfit::Foreign))));
        assert_eq!(fs::read(&options.path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_of_it_reaches_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..10_000).map(|n| u8::try_from(n % 251).unwrap()).collect();
        fs::write(&path, &content).unwrap();
        let backend = Untouched::new(File::open(&path).unwrap()).unwrap();
        let mut expected = content.clone();
        let read = |len: usize| {
            let mut out = vec![9; len];
            backend.read(0, &mut out).map(|()| out)
        };
        assert_eq!(read(10_000).unwrap(), expected);
        backend.write(4000, &[7; 200]).unwrap();
        expected[4000..4200].fill(7);
        assert_eq!(read(10_000).unwrap(), expected);
        backend.set_len(4100).unwrap();
        assert!(read(4101).is_err());
        backend.set_len(12_000).unwrap();
        expected.truncate(4100);
        expected.resize(12_000, 0);
        assert_eq!(read(12_000).unwrap(), expected);
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}
