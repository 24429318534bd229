//! Where a path leads after all links.

use std::io;
#[cfg(unix)]
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::{Host, World};
use crate::error::{Error, Result};

impl Host {
    /// The path of a file or directory without any link in it, such as
    /// `sys/devices/platform/coretemp.0` for `sys/class/hwmon/hwmon0/device`: a logical path where
    /// it is below one of the roots, else one that begins with `file:`.
    ///
    /// It allocates on the real host: ask once for each child, not at each collection.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`].
    pub fn real_path<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        let found = match &self.inner.world {
            World::Real => self.resolve(path, buffer),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => memory.real_path(path.as_bytes(), buffer),
        };
        found.map_err(|error| Error::from_io(path, error))?;
        Ok(buffer)
    }

    #[cfg(unix)]
    fn resolve(&self, path: &str, buffer: &mut Vec<u8>) -> io::Result<()> {
        let real = self.joined(path.as_bytes(), |path| {
            std::fs::canonicalize(std::ffi::OsStr::from_bytes(path.to_bytes()))
        })?;
        let roots = self.roots();
        buffer.clear();
        // The root directory is a root, too, but contains the others.
        for (name, root) in [
            ("proc", &roots.procfs),
            ("sys", &roots.sysfs),
            ("udev", &roots.udev),
            ("rootfs", &roots.rootfs),
        ] {
            let Ok(root) = std::fs::canonicalize(root) else { continue };
            if let Ok(below) = real.strip_prefix(&root) {
                buffer.extend_from_slice(name.as_bytes());
                if !below.as_os_str().is_empty() {
                    buffer.push(b'/');
                    buffer.extend_from_slice(below.as_os_str().as_bytes());
                }
                return Ok(());
            }
        }
        buffer.extend_from_slice(b"file:");
        buffer.extend_from_slice(&real.into_os_string().into_vec());
        Ok(())
    }

    #[cfg(not(unix))]
    fn resolve(&self, _: &str, _: &mut Vec<u8>) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::error::Error;
    use crate::host::{Host, MemoryHost, Roots};

    #[test]
    fn links_are_followed_to_their_end() {
        let memory = MemoryHost::from_files(&[("sys/devices/pci0/nvme/hwmon/hwmon0/name", "nvme")]);
        memory.link("sys/class/hwmon/hwmon0", "../../devices/pci0/nvme/hwmon/hwmon0");
        memory.link("sys/devices/pci0/nvme/hwmon/hwmon0/device", "../../../nvme");
        let (mut buffer, host) = (Vec::new(), memory.host());
        let real = host.real_path("sys/class/hwmon/hwmon0/device", &mut buffer).unwrap();
        assert_eq!(real, b"sys/devices/pci0/nvme");
        let absent = host.real_path("sys/class/hwmon/hwmon1", &mut buffer).map(<[u8]>::len);
        assert!(matches!(absent, Err(Error::Absent { .. })));
    }

    #[test]
    fn the_real_host_names_roots_too() {
        let host = Host::new(Roots::default());
        let mut buffer = Vec::new();
        let own = format!("proc/{}", std::process::id());
        assert_eq!(host.real_path("proc/self", &mut buffer).unwrap(), own.as_bytes());
        let absent = host.real_path("proc/no such file", &mut buffer).map(<[u8]>::len);
        assert!(matches!(absent, Err(Error::Absent { .. })));
    }
}
