//! Tasks that hung in the kernel, from `/proc/sys/kernel/hung_task_detect_count`
//! (Documentation/admin-guide/sysctl/kernel.rst; since Linux 6.13).

use vitald_core::prelude::*;

families! {
    /// Tasks that did not run for longer than `kernel.hung_task_timeout_secs` while they waited in the kernel.
    TASKS: counter = "node_kernel_hung_tasks_total";
}

register_collector!(KernelHung);

struct KernelHung {
    file: KeptFile,
}

impl Collector for KernelHung {
    about! {
        name: "kernel_hung",
        summary: "Tasks that hung in the kernel",
        families: FAMILIES,
        sources: ["proc/sys/kernel/hung_task_detect_count"],
    }
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(KernelHung { file: host.keep_whole("proc/sys/kernel/hung_task_detect_count") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let tasks = self.file.parse(text::single_u64)?;
        batch.value(&TASKS, tasks);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/sys/kernel/hung_task_detect_count";

    #[test]
    fn golden() {
        check::<KernelHung>(
            &MemoryHost::from_files(&[(PATH, "3\n")]).host(),
            &[],
            &expect![[r#"
                # node_kernel_hung_tasks_total counter
                node_kernel_hung_tasks_total 3
            "#]],
        );
    }

    /// The kernel is older, or was built without CONFIG_DETECT_HUNG_TASK.
    #[test]
    fn absent_is_an_error() {
        check_fails::<KernelHung>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/sys/kernel/hung_task_detect_count: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        check_fails::<KernelHung>(
            &MemoryHost::from_files(&[(PATH, "-1\n")]).host(),
            &[],
            &expect!["proc/sys/kernel/hung_task_detect_count: byte 0: expected a number"],
            &expect![""],
        );
    }
}
