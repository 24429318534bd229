//! The documents that are generated from the descriptors.

use crate::files;
use std::path::Path;
use vitald::manual;

/// Each generated file and its text.
fn documents() -> Result<[(&'static str, String); 4], String> {
    let collectors =
        vitald::collectors(&[vitald_plugins::ROLL]).map_err(|error| error.to_string())?;
    let outputs = vitald::registered_outputs()?;
    Ok([
        ("config.toml", manual::config_reference(&collectors, &outputs)),
        ("docs/metrics.md", manual::metrics_markdown(&collectors)),
        ("docs/config.md", manual::config_markdown(&collectors, &outputs)),
        ("deploy/grafana/hosts.json", manual::dashboard(&collectors)),
    ])
}

/// Those whose file differs.
fn stale(root: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let documents = documents()?.into_iter();
    Ok(documents
        .filter(|(name, text)| files::read(&root.join(name)).ok().as_ref() != Some(text))
        .collect())
}

fn names(documents: &[(&'static str, String)]) -> String {
    documents.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Writes those that are stale.
pub(crate) fn write(root: &Path) -> Result<String, String> {
    let stale = stale(root)?;
    for (name, text) in &stale {
        files::write(&root.join(name), text)?;
    }
    Ok(if stale.is_empty() { "all fresh".to_owned() } else { format!("wrote {}", names(&stale)) })
}

/// Fails when one is stale.
pub(crate) fn check(root: &Path) -> Result<String, String> {
    match stale(root)? {
        stale if stale.is_empty() => Ok("all fresh".to_owned()),
        stale => Err(format!("stale: {}; run `cargo xtask docs` and commit", names(&stale))),
    }
}
