//! The collectors that exist, compiled in or not.

use toml::de::{DeTable, DeValue};

/// The manifest of the collectors' crate. Read where it is needed, it cannot go stale.
const MANIFEST: &str = include_str!("../../../plugins/Cargo.toml");

/// The names of all collectors, by name: every feature that is no bundle. A bundle is a feature
/// that turns on others.
pub(crate) fn known() -> Vec<String> {
    let Ok(manifest) = DeTable::parse(MANIFEST) else { return Vec::new() };
    let Some(DeValue::Table(features)) = manifest.get_ref().get("features").map(|f| f.get_ref())
    else {
        return Vec::new();
    };
    features
        .iter()
        .filter(|(name, turns_on)| name.get_ref() != "default" && !is_bundle(turns_on.get_ref()))
        .map(|(name, _)| name.get_ref().to_string())
        .collect()
}

fn is_bundle(turns_on: &DeValue<'_>) -> bool {
    let DeValue::Array(items) = turns_on else { return false };
    items.iter().any(|item| {
        item.get_ref().as_str().is_some_and(|name| !name.starts_with("dep:") && !name.contains('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn collectors_are_known_and_bundles_are_not() {
        let known = known();
        for name in ["cpu", "diskstats", "portable", "process_groups"] {
            assert!(known.iter().any(|k| k == name), "{name} in {known:?}");
        }
        for name in ["default", "disk", "memory", "network", "standard", "full"] {
            assert!(!known.iter().any(|k| k == name), "{name} in {known:?}");
        }
    }
}
