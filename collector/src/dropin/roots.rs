//! The directories that node_exporter needs for its start.

use crate::plan::Plan;
use std::fs;
use std::path::Path;
use vitald_core::settings::{Mistake, Origin};

/// Refuses a plan whose collectors read a procfs or a sysfs that is no directory: node_exporter ends
/// then, so that a wrong flag is noticed. It may block.
pub(super) fn refuse_missing(plan: &Plan) -> Result<(), Vec<Mistake>> {
    let reads = |place: &str| {
        let mut on = plan.collectors.iter().filter(|plan| plan.enabled);
        on.any(|plan| plan.descriptor.sources.iter().any(|source| source.starts_with(place)))
    };
    let mistakes: Vec<Mistake> = [
        ("--path.procfs", &*plan.roots.procfs, "proc/"),
        ("--path.sysfs", &*plan.roots.sysfs, "sys/"),
    ]
    .into_iter()
    .filter(|(_, _, place)| reads(place))
    .filter_map(|(flag, root, _)| {
        let message = what_is_wrong(root)?;
        Some(Mistake { origin: Origin::Flag(flag.into()), path: String::new(), message })
    })
    .collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// What keeps a root from being a directory, in node_exporter's words.
fn what_is_wrong(root: &Path) -> Option<String> {
    match fs::metadata(root) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("mount point {root:?} is not a directory")),
        Err(error) => Some(format!("could not read {root:?}: {error}")),
    }
}
