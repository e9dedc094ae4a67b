//! Files that cannot be used: kept for who wants to look into them, never trusted, never many.

use crate::record::audit::rfc3339;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most files set aside beside a snapshot. One more takes the place of the oldest, so that a snapshot that
/// is damaged again and again cannot fill the disk.
pub(super) const MOST: usize = 3;

/// Renames the file to `NAME.set-aside-<UTC>`; gives the new name.
pub(super) fn set_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let before = set_aside_before(path)?;
    let surplus = (before.len() + 1).saturating_sub(MOST);
    for oldest in before.iter().take(surplus) {
        fs::remove_file(oldest)?;
    }
    let mut to = prefix(path);
    // Without what some file systems and shells do not like in a name.
    to.push(rfc3339(now).replace([':', '-', '.'], ""));
    let to = path.with_file_name(to);
    fs::rename(path, &to)?;
    Ok(to)
}

/// Those there are, oldest first: the names sort as their times do.
fn set_aside_before(path: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = prefix(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn prefix(path: &Path) -> std::ffi::OsString {
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".set-aside-");
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_oldest_of_three_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("register.redb");
        let mut names = Vec::new();
        for second in 0..5 {
            fs::write(&path, [second]).unwrap();
            let now =
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + u64::from(second));
            names.push(set_aside(&path, now).unwrap());
        }
        assert!(names[4].ends_with("register.redb.set-aside-20270115T080004000000Z"), "{names:?}");
        let left: Vec<_> = names.iter().filter(|name| name.exists()).collect();
        assert_eq!(left, [&names[2], &names[3], &names[4]]);
        assert_eq!(fs::read(&names[2]).unwrap(), [2]);
    }
}
