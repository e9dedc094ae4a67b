//! The file itself: nobody else's business on the machine, and no way to another file.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// What stands where the snapshot should be, and cannot be one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Unusable {
    #[error("it is a symbolic link, which is not followed; name the file itself")]
    Link,
    #[error("it is not a regular file")]
    NotAFile,
    #[error(
        "others may read or write it (mode {0:04o}), and this process may not change that; \
         give the file to the user that runs it, with mode 0600"
    )]
    Lax(u32),
}

impl From<Unusable> for io::Error {
    fn from(unusable: Unusable) -> Self {
        Self::other(unusable)
    }
}

/// Opens a file that only its owner may read and write, or makes it. A link in its place is not followed,
/// so that nobody who can write to the folder turns our writing to another file.
pub(super) fn own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = opened(&options, path)?;
    tightened(&file)?;
    Ok(file)
}

/// Takes away what others may do with the file, if it is there; gives the permissions it had then.
pub(super) fn tighten(path: &Path) -> io::Result<Option<u32>> {
    match opened(OpenOptions::new().read(true).write(true), path) {
        Ok(file) => tightened(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn opened(options: &OpenOptions, path: &Path) -> io::Result<File> {
    // Without waiting: a pipe in its place would keep us for ever.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = options.clone().custom_flags(flags).open(path).map_err(|error| {
        if error.raw_os_error() == Some(libc::ELOOP) { Unusable::Link.into() } else { error }
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(Unusable::NotAFile.into()) }
}

fn tightened(file: &File) -> io::Result<Option<u32>> {
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|_| Unusable::Lax(mode))?;
    Ok(Some(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{OpenError, Options, Secret, Unfit, open};
    use crate::sync::ports::{Saved, Store as _};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn options(path: PathBuf, sealed: bool) -> Options {
        let key = sealed.then(|| Secret::new([7; 32]));
        Options { path, binding: b"tt02".to_vec(), key }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// Why it cannot be opened, in words.
    fn refused(options: &Options) -> String {
        match open(options, now()) {
            Err(OpenError::Disk(cause)) => {
                format!("{cause} {}", cause.source().map(ToString::to_string).unwrap_or_default())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_snapshot_is_its_owners_alone_and_one_with_laxer_permissions_becomes_so() {
        let cases = [
            (0o600, false, None, None),
            (0o644, false, Some(0o644), None),
            (0o660, false, Some(0o660), None),
            (0o666, true, Some(0o666), None),
            (0o602, true, Some(0o602), None),
            (0o666, false, Some(0o666), Some(Unfit::Exposed)),
            (0o602, false, Some(0o602), Some(Unfit::Exposed)),
        ];
        for (before, sealed, tightened, unfit) in cases {
            let folder = tempfile::tempdir().unwrap();
            let options = options(folder.path().join("register.redb"), sealed);
            let mut opened = open(&options, now()).unwrap();
            assert_eq!(mode(&options.path), 0o600, "made so");
            opened.store.save(vec![Saved::LastSaved(now())]).unwrap();
            drop(opened);
            fs::set_permissions(&options.path, Permissions::from_mode(before)).unwrap();
            let opened = open(&options, now()).unwrap();
            let why = format!("{before:o}, sealed {sealed}");
            assert_eq!(opened.tightened, tightened, "{why}");
            assert_eq!(opened.set_aside.as_ref().map(|aside| aside.reason), unfit, "{why}");
            let mut held = 0;
            opened.loader.load(&mut |_| held += 1).unwrap();
            assert_eq!(held, usize::from(unfit.is_none()), "{why}");
            for entry in fs::read_dir(folder.path()).unwrap() {
                assert_eq!(mode(&entry.unwrap().path()), 0o600, "{why}");
            }
        }
    }

    #[test]
    fn a_link_is_followed_neither_to_the_snapshot_nor_to_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::write(place("other"), "of somebody else").unwrap();
        for (link, to) in [
            ("register", "other"),
            ("register", "nothing"),
            ("register.new", "other"),
            ("register.new", "nothing"),
        ] {
            symlink(place(to), place(link)).unwrap();
            let why = refused(&options(place("register"), false));
            assert!(why.contains("symbolic link"), "{link} to {to}: {why}");
            assert_eq!(fs::read_to_string(place("other")).unwrap(), "of somebody else");
            assert!(!place("nothing").exists());
            fs::remove_file(place(link)).unwrap();
        }
        assert!(open(&options(place("register"), false), now()).is_ok(), "without links");
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("register");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let why = refused(&options(path, false));
        assert!(why.contains("not a regular file"), "{why}");
        let why = refused(&options(folder.path().to_owned(), false));
        assert!(why.contains("directory"), "{why}");
    }
}
