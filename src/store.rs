//! The register on disk: what was read from Altinn outlives a restart while Altinn is away.
//!
//! `sync -> store -> file -> next start`. One redb file: a batch is written whole or not at all, whenever
//! the process or the machine stops. Whatever cannot be trusted (torn, altered, of another environment,
//! format or key, from the future) is set aside with its reason and nothing of it is loaded. The
//! file tells nothing to who has not the key, if one is given, but how many records there are of each kind
//! and how large. Talks to no network; times of day come from the caller.

mod aside;
mod file;
mod look;
mod record;
mod seal;

pub use look::{LookError, look};

use crate::sync::ports::{Saved, Store, StoreError};
use record::{Kind, decode, encode};
use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageError, TableDefinition, TableError,
};
use seal::{FORMAT, Head, Seal};
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// The key that a snapshot is encrypted with; wiped when dropped.
pub type Secret = Zeroizing<[u8; 32]>;

/// Memory of the database's page cache, in bytes.
const CACHE: usize = 8 << 20;

/// How far the time of day may lie behind that of the last saving before the snapshot counts as one from
/// the future: clocks are set a little now and then. Single facts are judged without it.
const SLACK: Duration = Duration::from_secs(2);

const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("head");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// Which snapshot to open.
#[derive(Clone)]
pub struct Options {
    /// The file; made when it is not there. Its folder must be.
    pub path: PathBuf,
    /// What the snapshot is of: a fingerprint of the environment and of the parts of the configuration
    /// that it depends on.
    pub binding: Vec<u8>,
    /// With which it is encrypted; `None` leaves it readable.
    pub key: Option<Secret>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypted = self.key.is_some();
        let path = &self.path;
        f.debug_struct("Options")
            .field("path", path)
            .field("encrypted", &encrypted)
            .finish_non_exhaustive()
    }
}

/// A snapshot opened: for saving, and for loading what it holds.
#[derive(Debug)]
pub struct Opened {
    /// Saves.
    pub store: Snapshot,
    /// Loads what was saved before.
    pub loader: Loader,
    /// The file that was there could not be used.
    pub set_aside: Option<SetAside>,
    /// The permission bits that the file had, when others than its owner could read or write it: they
    /// were taken away.
    pub tightened: Option<u32>,
}

/// A file that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot is not used: {reason}; it is set aside as {}", to.display())]
pub struct SetAside {
    /// Why.
    pub reason: Unfit,
    /// Its name now.
    pub to: PathBuf,
}

/// Why a file is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// No database, or a broken one.
    #[error("it is no database, or torn")]
    Unreadable,
    /// A record is not as it was written.
    #[error("a record in it was altered")]
    Altered,
    /// Written by another version of the format.
    #[error("it is of another format")]
    Format,
    /// Of another environment or configuration.
    #[error("it is of another environment or configuration")]
    Foreign,
    /// Encrypted, and no key is given.
    #[error("it is encrypted, and no key is given")]
    KeyMissing,
    /// Encrypted with another key.
    #[error("it is encrypted with another key")]
    OtherKey,
    /// Not encrypted, but a key is given.
    #[error("it is not encrypted, but a key is given")]
    NotEncrypted,
    /// Saved at a time that has not come.
    #[error("it was saved at a time that has not come yet")]
    Future,
    /// Everybody on the machine could write it, and no key tells who did.
    #[error("everybody could write to it, and without a key nobody can tell who did")]
    Exposed,
}

impl Unfit {
    /// The stable label in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Altered => "altered",
            Self::Format => "format",
            Self::Foreign => "foreign",
            Self::KeyMissing => "key_missing",
            Self::OtherKey => "other_key",
            Self::NotEncrypted => "not_encrypted",
            Self::Future => "future",
            Self::Exposed => "exposed",
        }
    }
}

/// Why there is no snapshot at all. The program runs without.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another process uses the snapshot")]
    InUse,
    /// The file can be neither used nor made nor set aside.
    #[error("the snapshot cannot be opened")]
    Disk(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The key cannot be used.
    #[error("the key of the snapshot cannot be used")]
    Key,
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::InUse => Self::InUse,
            OpenError::Disk(cause) => Self::Disk(cause),
            OpenError::Key => Self::Sealing,
        }
    }
}

/// Opens the snapshot, reads all of it once to see that it is sound, and sets it aside if it is not.
/// `now` is the time of day.
///
/// # Errors
/// [`OpenError`] when there can be none: the disk, or another process.
pub fn open(options: &Options, now: SystemTime) -> Result<Opened, OpenError> {
    let (seal, head) =
        Seal::new(&options.binding, options.key.as_ref()).map_err(|_| OpenError::Key)?;
    let (seal, path) = (Arc::new(seal), options.path.clone());
    let place = Place { path, seal, head };
    let tightened = file::tighten(&place.path).map_err(|cause| OpenError::Disk(cause.into()))?;
    // Opened even so: another process may be using it, and then it stays where it is.
    let found = match place.open(Some(now)) {
        Ok(_) if place.is_exposed(tightened) => Err(Trouble::Unfit(Unfit::Exposed)),
        found => found,
    };
    let opened =
        |database, set_aside| Ok(Opened { tightened, ..place.opened(database, set_aside)? });
    let set_aside = match found {
        Ok(database) => return opened(database, None),
        Err(Trouble::InUse) => return Err(OpenError::InUse),
        Err(Trouble::Disk(cause)) => return Err(OpenError::Disk(cause)),
        Err(Trouble::Unfit(reason)) => {
            let to = aside::set_aside(&place.path, now)
                .map_err(|cause| OpenError::Disk(cause.into()))?;
            SetAside { reason, to }
        }
    };
    match place.open(Some(now)) {
        Ok(database) => opened(database, Some(set_aside)),
        Err(Trouble::InUse) => Err(OpenError::InUse),
        Err(Trouble::Disk(cause)) => Err(OpenError::Disk(cause)),
        Err(Trouble::Unfit(reason)) => Err(OpenError::Disk(reason.into())),
    }
}

/// Where a snapshot is, and what must be true of it.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    seal: Arc<Seal>,
    head: Head,
}

/// Why it could not be opened, this time.
#[derive(Debug)]
enum Trouble {
    InUse,
    Disk(Box<dyn std::error::Error + Send + Sync>),
    Unfit(Unfit),
}

impl From<Unfit> for Trouble {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match error.kind() {
            // What the database says of a file that is no whole one.
            InvalidData | InvalidInput | UnexpectedEof => Self::Unfit(Unfit::Unreadable),
            _ => Self::Disk(error.into()),
        }
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => error.into(),
            StorageError::Corrupted(_) => Self::Unfit(Unfit::Unreadable),
            other => Self::Disk(other.into()),
        }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse,
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(_) => Self::Unfit(Unfit::Format),
            DatabaseError::RepairAborted => Self::Unfit(Unfit::Unreadable),
            other => Self::Disk(other.into()),
        }
    }
}

impl From<TableError> for Trouble {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            // Tables of another shape: a database, but not ours.
            _ => Self::Unfit(Unfit::Format),
        }
    }
}

impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            redb::Error::Corrupted(_) => Self::Unfit(Unfit::Unreadable),
            other => Self::Disk(other.into()),
        }
    }
}

/// Runs what the database does with a file that may be broken in ways its makers did not foresee.
fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Trouble::Unfit(Unfit::Unreadable)))
}

impl Place {
    /// Whether a file with these permissions may hold what anybody wrote. A key would tell; who is in the
    /// file's group was chosen by somebody (volumes of Kubernetes are opened to a group at every start).
    fn is_exposed(&self, mode: Option<u32>) -> bool {
        let everybody = mode.is_some_and(|mode| mode & 0o002 != 0);
        everybody && !self.head.encrypted
    }

    fn opened(&self, database: Database, set_aside: Option<SetAside>) -> Result<Opened, OpenError> {
        let table = guarded(|| records(&database)).map_err(|trouble| match trouble {
            Trouble::InUse => OpenError::InUse,
            Trouble::Disk(cause) => OpenError::Disk(cause),
            Trouble::Unfit(reason) => OpenError::Disk(reason.into()),
        })?;
        let database = Arc::new(database);
        let seal = Arc::clone(&self.seal);
        let loader = Loader { table, seal, _database: Arc::clone(&database) };
        let place =
            Self { path: self.path.clone(), seal: Arc::clone(&self.seal), head: self.head.clone() };
        let store = Snapshot { place, database: Some(database) };
        Ok(Opened { store, loader, set_aside, tightened: None })
    }

    /// The database, new or found sound. With a time of day every record is looked at too.
    fn open(&self, now: Option<SystemTime>) -> Result<Database, Trouble> {
        guarded(|| {
            // Whatever is there, a link that leads nowhere too, is not made anew.
            let there = self.path.symlink_metadata().is_ok();
            let database = if there { database(file::own(&self.path)?)? } else { self.make()? };
            self.check_head(&database)?;
            if let Some(now) = now {
                check_records(&database, &self.seal, now)?;
            }
            Ok(database)
        })
    }

    /// A new database, made under another name: whenever the process ends, there is none or a whole one.
    fn make(&self) -> Result<Database, Trouble> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let name = PathBuf::from(name);
        let file = file::own(&name)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Trouble::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // What another process left half made.
        file.set_len(0)?;
        let database = database(file)?;
        self.write_head(&database)?;
        match fs::hard_link(&name, &self.path) {
            Ok(()) => fs::remove_file(&name)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Trouble::InUse);
            }
            // A file system without links.
            Err(_) => fs::rename(&name, &self.path)?,
        }
        keep_folder(&self.path);
        Ok(database)
    }

    /// Compares the head with ours, or writes it where there is none.
    fn check_head(&self, database: &Database) -> Result<(), Trouble> {
        let reading = database.begin_read().map_err(redb::Error::from)?;
        if reading.list_tables()?.next().is_none() {
            drop(reading);
            return self.write_head(database);
        }
        let table = match reading.open_table(HEAD) {
            Err(TableError::TableDoesNotExist(_)) => return Err(Unfit::Format.into()),
            table => table?,
        };
        let part = |name: &str| -> Result<Vec<u8>, Trouble> {
            Ok(table.get(name)?.map(|value| value.value().to_vec()).unwrap_or_default())
        };
        if part("format")? != FORMAT.to_be_bytes() {
            return Err(Unfit::Format.into());
        }
        let found = Head {
            encrypted: part("encrypted")? == [1],
            key_check: part("key check")?,
            binding: part("binding")?,
        };
        match unlike(&found, &self.head) {
            Some(unfit) => Err(unfit.into()),
            None => Ok(()),
        }
    }

    fn write_head(&self, database: &Database) -> Result<(), Trouble> {
        let writing = database.begin_write().map_err(redb::Error::from)?;
        {
            let mut table = writing.open_table(HEAD)?;
            table.insert("format", &FORMAT.to_be_bytes()[..])?;
            table.insert("encrypted", &[u8::from(self.head.encrypted)][..])?;
            table.insert("key check", &*self.head.key_check)?;
            table.insert("binding", &*self.head.binding)?;
            writing.open_table(RECORDS)?;
        }
        writing.commit().map_err(redb::Error::from)?;
        Ok(())
    }
}

fn database(file: File) -> Result<Database, Trouble> {
    Ok(Database::builder()
        .set_cache_size(CACHE)
        // Every page is checked, so that what is read later is what was written.
        .set_check_integrity_on_open(true)
        .create_with_backend(FileBackend::new(file)?)?)
}

fn unlike(found: &Head, ours: &Head) -> Option<Unfit> {
    match (found.encrypted, ours.encrypted) {
        (true, false) => Some(Unfit::KeyMissing),
        (false, true) => Some(Unfit::NotEncrypted),
        _ if found.key_check != ours.key_check => Some(Unfit::OtherKey),
        _ if found.binding != ours.binding => Some(Unfit::Foreign),
        _ => None,
    }
}

/// A new file outlives a crash of the machine only when its folder was written too. Not every file system
/// can do that; then the next start begins a new snapshot.
fn keep_folder(path: &Path) {
    if let Some(folder) = path.parent() {
        let _told = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;

fn records(database: &Database) -> Result<Records, Trouble> {
    let reading = database.begin_read().map_err(redb::Error::from)?;
    Ok(reading.open_table(RECORDS)?)
}

fn check_records(database: &Database, seal: &Seal, now: SystemTime) -> Result<(), Trouble> {
    each_record(&records(database)?, seal, &mut |saved| match saved {
        Saved::LastSaved(at) if at > now + SLACK => Err(Unfit::Future.into()),
        _ => Ok(()),
    })
}

fn each_record(
    table: &Records,
    seal: &Seal,
    take: &mut dyn FnMut(Saved) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let most = usize::try_from(table.len()?).unwrap_or(usize::MAX);
    let mut count = 0;
    for record in table.iter()?.take(most.saturating_add(1)) {
        let (name, sealed) = record?;
        let name = name.value();
        let content = seal.open(name, sealed.value()).ok_or(Unfit::Altered)?;
        let kind = name.first().copied().unwrap_or_default();
        take(decode(kind, &content).ok_or(Unfit::Altered)?)?;
        count += 1;
    }
    if count == most { Ok(()) } else { Err(Unfit::Altered.into()) }
}

/// Loads what a snapshot held when it was opened. Drop it soon: as long as it is there, the file cannot
/// use the room of what changes.
pub struct Loader {
    table: Records,
    seal: Arc<Seal>,
    /// Reading ends when the database is closed.
    _database: Arc<Database>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").finish_non_exhaustive()
    }
}

/// The file cannot be read, though it could a moment ago.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot cannot be read to its end")]
pub struct CannotLoad;

impl Loader {
    /// Hands over every fact: policies and lists first, then system users, then confirmations. Each is
    /// exactly as it was saved.
    ///
    /// # Errors
    /// [`CannotLoad`] when the file fails meanwhile; what was handed over is sound.
    pub fn load(self, take: &mut dyn FnMut(Saved)) -> Result<(), CannotLoad> {
        let mut hand = |saved| {
            take(saved);
            Ok(())
        };
        guarded(|| each_record(&self.table, &self.seal, &mut hand)).map_err(|_| CannotLoad)
    }
}

/// Saves facts, batch by batch.
#[derive(Debug)]
pub struct Snapshot {
    place: Place,
    /// `None` after the disk failed: opened anew by the next call.
    database: Option<Arc<Database>>,
}

impl Store for Snapshot {
    fn save(&mut self, batch: Vec<Saved>) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => Arc::new(self.reopen()?),
        };
        let seal = &self.place.seal;
        let written = catch_unwind(AssertUnwindSafe(|| write(&database, seal, &batch)));
        match written {
            Ok(Ok(())) => {
                self.database = Some(database);
                Ok(())
            }
            Ok(Err(NotWritten::Sealing)) => {
                self.database = Some(database);
                Err(StoreError::Sealing)
            }
            Ok(Err(NotWritten::Disk(cause))) => {
                close(database);
                Err(StoreError::Disk(cause.into()))
            }
            Err(_panic) => {
                close(database);
                Err(StoreError::Disk(Unfit::Unreadable.into()))
            }
        }
    }
}

impl Snapshot {
    /// The database never recovers from a failed write by itself, but the file does when opened anew.
    fn reopen(&mut self) -> Result<Database, StoreError> {
        match self.place.open(None) {
            Ok(database) => Ok(database),
            Err(Trouble::InUse) => Err(StoreError::InUse),
            Err(Trouble::Disk(cause)) => Err(StoreError::Disk(cause)),
            Err(Trouble::Unfit(_)) => Err(self.begin_anew()),
        }
    }

    fn begin_anew(&mut self) -> StoreError {
        let now = newest_change(&self.place.path);
        let to = match aside::set_aside(&self.place.path, now) {
            Ok(to) => to,
            Err(cause) => return StoreError::Disk(cause.into()),
        };
        match self.place.open(None) {
            Ok(database) => self.database = Some(Arc::new(database)),
            Err(Trouble::InUse) => return StoreError::InUse,
            Err(Trouble::Disk(cause)) => return StoreError::Disk(cause),
            Err(Trouble::Unfit(reason)) => return StoreError::Disk(reason.into()),
        }
        StoreError::Lost(to.display().to_string())
    }
}

/// When the file was last written: the time by which it is set aside while nobody tells the time of day.
fn newest_change(path: &Path) -> SystemTime {
    path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Drops a database that failed, whatever it does then.
fn close(database: Arc<Database>) {
    let _panic = catch_unwind(AssertUnwindSafe(|| drop(database)));
}

enum NotWritten {
    Sealing,
    Disk(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for NotWritten {
    fn from(error: E) -> Self {
        Self::Disk(error.into())
    }
}

fn write(database: &Database, seal: &Seal, batch: &[Saved]) -> Result<(), NotWritten> {
    let writing = database.begin_write()?;
    {
        let mut table = writing.open_table(RECORDS)?;
        for saved in batch {
            if *saved == Saved::UnconfirmAll {
                let [first, next] = [0, 1].map(|more| [Kind::Confirmation.number() + more]);
                table.retain_in(&first[..]..&next[..], |_, _| false)?;
                continue;
            }
            let record = encode(saved).map_err(|_| NotWritten::Sealing)?;
            let name = seal.name(record.kind.number(), &record.subject);
            match record.content {
                Some(content) => {
                    let sealed = seal.seal(&name, content).map_err(|_| NotWritten::Sealing)?;
                    table.insert(&name[..], &*sealed)?;
                }
                None => drop(table.remove(&name[..])?),
            }
        }
    }
    writing.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delegation::PartyRights;
    use crate::domain::party::{OrgNumber, Party};
    use crate::domain::resource::{Question, Right};
    use crate::domain::system_user::SystemUserId;
    use crate::sync::ports::{
        AccessList, FeedPosition, PublishedResource, ReadFor, SavedLists, SavedResource, SavedUser,
        StorableQuestion,
    };
    use tempfile::TempDir;

    const PARTY: &str = "310000027";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn id(number: u32) -> SystemUserId {
        format!("11111111-1111-4111-8111-1111{number:08x}").parse().unwrap()
    }

    fn user(number: u32, fetched: u64, parties: u32) -> SavedUser {
        let rights = |party: u32| PartyRights {
            party: OrgNumber::from_packed(party).unwrap(),
            packages: (0..party % 3).map(|n| format!("package-{n}").parse().unwrap()).collect(),
            resources: (0..party % 2).map(|n| format!("resource-{n}").parse().unwrap()).collect(),
        };
        SavedUser {
            id: id(number),
            owner: PARTY.parse().unwrap(),
            system: "310000019_regnskap".parse().unwrap(),
            vendor: "310000035".parse().unwrap(),
            fetched: (number % 5 != 4).then(|| at(fetched)),
            changed: at(1),
            lost: number.is_multiple_of(2).then(|| at(1)),
            last_used: at(2),
            parties: (0..parties).map(rights).collect(),
            read_for: number.is_multiple_of(3).then_some(ReadFor(number.into())),
        }
    }

    fn question(party: Party, instance: Option<&str>) -> Question {
        let resource = "ex-returns".parse().unwrap();
        let right = Right { resource, action: "read".parse().unwrap() };
        Question::new(id(1), party, right, instance.map(|text| text.parse().unwrap()))
    }

    fn storable(instance: Option<&str>) -> StorableQuestion {
        let party = Party::Organization(PARTY.parse().unwrap());
        StorableQuestion::of(question(party, instance)).unwrap()
    }

    /// One of each kind, in the order of loading.
    fn facts() -> Vec<Saved> {
        let list = |actions: Option<&str>| AccessList {
            members: vec![PARTY.parse().unwrap()],
            actions: actions.map(|action| [action.parse().unwrap()].into()),
        };
        let lists = [("ex-returns".parse().unwrap(), vec![list(None), list(Some("read"))])].into();
        vec![
            Saved::LastSaved(at(5)),
            Saved::Feed(FeedPosition("42".into())),
            Saved::Catalogue([("code".to_owned(), "suffix".parse().unwrap())].into()),
            Saved::AccessLists(SavedLists { owner: "ex".into(), lists, fetched: at(3) }),
            Saved::Resource(Box::new(SavedResource {
                id: "ex-returns".parse().unwrap(),
                published: PublishedResource { policy: (*b"<Policy/>").into(), access_list: true },
                verified: at(4),
            })),
            Saved::User(Box::new(user(1, 3, 100))),
            Saved::Confirmation(storable(None), at(4)),
            Saved::Confirmation(storable(Some("7")), at(4)),
            Saved::SwitchedOff(storable(None)),
        ]
    }

    struct Stage {
        folder: TempDir,
        options: Options,
    }

    fn stage(key: Option<u8>) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("register.redb");
        let key = key.map(|key| Secret::new([key; 32]));
        Stage { folder, options: Options { path, binding: b"tt02".to_vec(), key } }
    }

    impl Stage {
        fn open(&self) -> Opened {
            open(&self.options, at(10)).unwrap()
        }

        /// All there is, in the order of loading; and why the file was set aside, if it was.
        fn load(&self) -> (Vec<Saved>, Option<Unfit>) {
            let Opened { loader, set_aside, .. } = self.open();
            let mut all = Vec::new();
            loader.load(&mut |saved| all.push(saved)).unwrap();
            (all, set_aside.map(|aside| aside.reason))
        }

        fn save(&self, batch: Vec<Saved>) {
            self.open().store.save(batch).unwrap();
        }

        fn set_aside(&self) -> usize {
            fs::read_dir(self.folder.path()).unwrap().count() - 1
        }
    }

    fn sorted(mut facts: Vec<Saved>) -> Vec<String> {
        facts.sort_by_key(|fact| format!("{fact:?}"));
        facts.iter().map(|fact| format!("{fact:?}")).collect()
    }

    #[test]
    fn what_is_saved_is_loaded_as_it_was_plain_and_encrypted() {
        for key in [None, Some(7)] {
            let stage = stage(key);
            assert_eq!(stage.load(), (vec![], None), "a new one is empty and fine");
            stage.save(facts());
            let (loaded, aside) = stage.load();
            assert_eq!((sorted(loaded.clone()), aside), (sorted(facts()), None));
            let kinds =
                |facts: &[Saved]| facts.iter().map(std::mem::discriminant).collect::<Vec<_>>();
            assert_eq!(
                kinds(&loaded),
                kinds(&facts()),
                "policies before users before confirmations"
            );
        }
    }

    #[test]
    fn what_is_gone_is_not_loaded() {
        let stage = stage(Some(7));
        stage.save(facts());
        let mut later = user(1, 9, 0);
        later.id = id(2);
        stage.save(vec![
            Saved::ForgetUser(id(1)),
            Saved::User(Box::new(later.clone())),
            Saved::ResourceGone("ex-returns".parse().unwrap()),
            Saved::Unconfirm(storable(None)),
            Saved::SwitchedOn("ex-returns".parse().unwrap()),
            Saved::ForgetUser(id(99)),
        ]);
        let (loaded, _) = stage.load();
        assert_eq!(loaded.len(), facts().len() - 3);
        assert!(loaded.contains(&Saved::User(Box::new(later))));
        assert!(loaded.contains(&Saved::Confirmation(storable(Some("7")), at(4))));
        let new = Saved::Confirmation(storable(Some("8")), at(5));
        stage.save(vec![Saved::UnconfirmAll, new.clone()]);
        let (after, _) = stage.load();
        let old = |saved: &&Saved| matches!(saved, Saved::Confirmation(..)) && **saved != new;
        assert_eq!(after.len(), loaded.len(), "one is gone, one is new, and the rest is there");
        assert_eq!((after.iter().find(old), after.contains(&new)), (None, true));
    }

    #[test]
    fn times_are_rounded_down_to_the_millisecond() {
        let stage = stage(None);
        stage.save(vec![Saved::LastSaved(at(5) + Duration::from_nanos(1_999_999))]);
        assert_eq!(stage.load().0, [Saved::LastSaved(at(5) + Duration::from_millis(1))]);
    }

    #[test]
    fn a_question_about_a_person_cannot_be_saved() {
        let person = Party::Person("01010750160".parse().unwrap());
        assert_eq!(StorableQuestion::of(question(person, None)), None);
    }

    #[test]
    fn a_snapshot_of_something_else_is_set_aside() {
        let other = |key: Option<u8>, binding: &[u8], stage: &Stage| Options {
            key: key.map(|key| Secret::new([key; 32])),
            binding: binding.to_vec(),
            path: stage.options.path.clone(),
        };
        let cases: [(_, _, &[u8], _); 6] = [
            (None, None, b"prod", Unfit::Foreign),
            (Some(7), Some(7), b"prod", Unfit::Foreign),
            (Some(7), Some(8), b"tt02", Unfit::OtherKey),
            (Some(7), Some(8), b"prod", Unfit::OtherKey),
            (Some(7), None, b"tt02", Unfit::KeyMissing),
            (None, Some(7), b"tt02", Unfit::NotEncrypted),
        ];
        for (before, after, binding, reason) in cases {
            let mut stage = stage(before);
            stage.save(facts());
            stage.options = other(after, binding, &stage);
            assert_eq!(stage.load(), (vec![], Some(reason)));
            assert_eq!(stage.load(), (vec![], None), "the new one is in its place");
            assert_eq!(stage.set_aside(), 1);
        }
    }

    #[test]
    fn a_snapshot_from_the_future_is_set_aside() {
        for (saved, expected) in [(12, None), (13, Some(Unfit::Future))] {
            let stage = stage(None);
            stage.save(vec![Saved::LastSaved(at(saved))]);
            assert_eq!(stage.load().1, expected, "opened at 10, saved at {saved}");
        }
    }

    #[test]
    fn another_format_is_set_aside() {
        let stage = stage(None);
        stage.save(facts());
        let database = Database::open(&stage.options.path).unwrap();
        let writing = database.begin_write().unwrap();
        writing.open_table(HEAD).unwrap().insert("format", &2u32.to_be_bytes()[..]).unwrap();
        writing.commit().unwrap();
        drop(database);
        let told = stage.open().set_aside.unwrap();
        assert_eq!(told.reason, Unfit::Format);
        assert!(told.to_string().contains("another format; it is set aside as /"), "{told}");
    }

    #[test]
    fn files_that_are_no_database_are_set_aside_and_an_empty_one_is_new() {
        for (content, expected) in [
            (&b""[..], None),
            (b"x", Some(Unfit::Unreadable)),
            (&[0; 9000], Some(Unfit::Unreadable)),
        ] {
            let stage = stage(None);
            fs::write(&stage.options.path, content).unwrap();
            assert_eq!(stage.load(), (vec![], expected), "{} bytes", content.len());
        }
    }

    #[test]
    fn a_record_moved_or_swapped_is_found_out() {
        for key in [None, Some(7)] {
            let stage = stage(key);
            stage.save((1..4).map(|n| Saved::User(Box::new(user(n, 3, 2)))).collect());
            let database = Database::open(&stage.options.path).unwrap();
            let writing = database.begin_write().unwrap();
            {
                let mut table = writing.open_table(RECORDS).unwrap();
                let all: Vec<_> = table
                    .iter()
                    .unwrap()
                    .map(|record| {
                        record.map(|(name, value)| (name.value().to_vec(), value.value().to_vec()))
                    })
                    .map(Result::unwrap)
                    .collect();
                table.insert(&*all[0].0, &*all[1].1).unwrap();
            }
            writing.commit().unwrap();
            drop(database);
            assert_eq!(stage.load(), (vec![], Some(Unfit::Altered)));
        }
    }

    #[test]
    fn a_second_process_is_told_that_the_snapshot_is_taken() {
        let stage = stage(None);
        let _first = stage.open();
        assert!(matches!(open(&stage.options, at(10)), Err(OpenError::InUse)));
        assert_eq!(stage.set_aside(), 0);
    }

    #[test]
    fn an_encrypted_file_shows_no_number_and_no_name() {
        let stage = stage(Some(7));
        stage.save(facts());
        let file = fs::read(&stage.options.path).unwrap();
        let packed = PARTY.parse::<OrgNumber>().unwrap().packed().to_be_bytes();
        let id = id(1);
        let shown: [&[u8]; 6] =
            [PARTY.as_bytes(), &packed, id.as_bytes(), b"package-1", b"ex-returns", b"regnskap"];
        for text in shown {
            assert!(!file.windows(text.len()).any(|window| window == text), "{text:?}");
        }
    }

    #[test]
    fn nobody_else_on_the_machine_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let stage = stage(None);
        stage.save(facts());
        let mode = stage.options.path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// Splitmix64: the same damage in every run.
    fn random(seed: u64) -> u64 {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn a_damaged_file_is_set_aside_or_tells_exactly_what_was_saved() {
        for key in [None, Some(7)] {
            let stage = stage(key);
            stage.save(facts());
            stage.save((10..60).map(|n| Saved::User(Box::new(user(n, 3, n)))).collect());
            stage.save((10..20).map(|n| Saved::User(Box::new(user(n, 5, n)))).collect());
            let sound = fs::read(&stage.options.path).unwrap();
            let expected = sorted(stage.load().0);
            let mut told = 0;
            for round in 0..100 {
                let mut file = sound.clone();
                let spot =
                    |n: u64| usize::try_from(random(round * 8 + n)).unwrap_or(0) % sound.len();
                match round % 4 {
                    0 => file.truncate(spot(0)),
                    1 => file[spot(0)] ^= 1 << (round % 8),
                    2 => (0..4).for_each(|n| file[spot(n)] = 0xff),
                    // Where the database keeps what it needs first.
                    _ => file[spot(0) % 4096] ^= 1 << (round / 4 % 8),
                }
                fs::write(&stage.options.path, &file).unwrap();
                let (loaded, aside) = stage.load();
                match aside {
                    None => assert_eq!(sorted(loaded), expected, "round {round}"),
                    Some(_) => assert!(loaded.is_empty(), "round {round}"),
                }
                told += usize::from(aside.is_some());
            }
            assert!(told > 33, "{told} of 100 found out");
            assert_eq!(stage.set_aside(), 1, "all at the same time of day");
        }
    }
}
