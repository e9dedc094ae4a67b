//! A file system of its own with little room, for tests of what happens when there is none.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A small file system, unmounted when dropped.
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// With room for `size`, such as `256k`; `None` where that is not allowed.
    pub fn mount(size: &str) -> Option<Self> {
        let at = tempfile::tempdir().expect("a folder");
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at.path())
            .output();
        mounted.ok().filter(|ran| ran.status.success()).map(|_| Self(at))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes what room there is left, to the last byte.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).expect("created");
        while file.write_all(&[0; 1024]).is_ok() {}
    }

    /// Gives it back.
    pub fn clear(&self) {
        std::fs::remove_file(self.ballast()).expect("filled before");
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.0.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is still open is let go when it is closed.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
