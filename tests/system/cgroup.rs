//! Control groups of the tests' own, of either version of the kernel's interface.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A group; it is removed with the value, by when its processes must have ended.
pub struct Cgroup {
    directory: PathBuf,
    /// Whether it is one of the second version (Documentation/admin-guide/cgroup-v2.rst).
    is_unified: bool,
}

impl Cgroup {
    /// A group with this controller, such as `memory`.
    pub fn with(controller: &str) -> Cgroup {
        let unified = Path::new("/sys/fs/cgroup");
        let controllers = std::fs::read_to_string(unified.join("cgroup.controllers"));
        let has = |list: &str| list.split_whitespace().any(|name| name == controller);
        if controllers.is_ok_and(|list| has(&list)) {
            std::fs::write(unified.join("cgroup.subtree_control"), format!("+{controller}"))
                .expect("root may delegate a controller");
            return Cgroup::below(unified, true);
        }
        Cgroup::below(&unified.join(controller), false)
    }

    /// A group that can be frozen.
    pub fn that_freezes() -> Cgroup {
        let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let unified = places.iter().find(|place| place.join("cgroup.controllers").exists());
        match unified {
            Some(unified) => Cgroup::below(unified, true),
            None => Cgroup::with("freezer"),
        }
    }

    fn below(parent: &Path, is_unified: bool) -> Cgroup {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = parent.join(format!("vitald-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        Cgroup { directory, is_unified }
    }

    fn write(&self, [first, second]: [&str; 2], [one, two]: [&str; 2]) {
        let (name, text) = if self.is_unified { (second, two) } else { (first, one) };
        let file = self.directory.join(name);
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// What its processes may have in memory, caches included.
    pub fn limit_memory(&self, bytes: u64) {
        let bytes = bytes.to_string();
        self.write(["memory.limit_in_bytes", "memory.max"], [&bytes; 2]);
    }

    /// The most that they have had.
    pub fn most_memory(&self) -> u64 {
        let name = if self.is_unified { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let text = std::fs::read_to_string(self.directory.join(name)).expect("a figure");
        text.trim().parse().expect("a number")
    }

    /// How much of each tenth of a second of one CPU they get.
    pub fn limit_cpu(&self, microseconds: u32) {
        let quota = microseconds.to_string();
        self.write(["cpu.cfs_quota_us", "cpu.max"], [&quota, &format!("{quota} 100000")]);
    }

    /// Stops its processes where they are, or lets them go on.
    pub fn freeze(&self, is_frozen: bool) {
        let first = if is_frozen { "FROZEN" } else { "THAWED" };
        let second = if is_frozen { "1" } else { "0" };
        self.write(["freezer.state", "cgroup.freeze"], [first, second]);
    }

    /// Has a command run in it.
    pub fn hold(&self, command: &mut Command) {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!(
            "echo $$ >'{}' && exec \"$0\" \"$@\"",
            self.directory.join("cgroup.procs").display()
        ));
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        *command = shell;
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that was killed is in it for a moment more.
        for _ in 0..1000 {
            if std::fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}
