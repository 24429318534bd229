//! The paths of the drop-in, as the router of Go's `net/http` takes them.

use super::query;

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Metrics,
    Landing,
    Nothing,
    /// The same without double slashes and dots, ready for a header.
    Elsewhere(String),
}

/// Where a path leads when the metrics are at `telemetry_path`. One that ends with a slash means all
/// that is below it, as in Go.
pub(super) fn place_of(path: &str, telemetry_path: &str) -> Place {
    let Some(path) = query::decode_segment(path).filter(|path| path.starts_with('/')) else {
        return Place::Nothing;
    };
    let below = telemetry_path.strip_suffix('/');
    let mut clean = clean(&path);
    if below == Some(&*clean) {
        clean.push('/');
    }
    if clean != path {
        let segments: Vec<String> = clean.split('/').map(query::encode).collect();
        Place::Elsewhere(segments.join("/"))
    } else if path == telemetry_path || below.is_some() && path.starts_with(telemetry_path) {
        Place::Metrics
    } else if path == "/" {
        Place::Landing
    } else {
        Place::Nothing
    }
}

/// The path without empty segments and dots; a slash at its end stays.
fn clean(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_do_in_go() {
        let elsewhere = |path: &str| Place::Elsewhere(path.to_owned());
        for (telemetry_path, path, place) in [
            ("/metrics", "/metrics", Place::Metrics),
            ("/metrics", "/%6Detrics", Place::Metrics),
            ("/metrics", "/", Place::Landing),
            ("/metrics", "/metrics/", Place::Nothing),
            ("/metrics", "/metrics/x", Place::Nothing),
            ("/metrics", "/metric", Place::Nothing),
            ("/metrics", "/%zz", Place::Nothing),
            ("/metrics", "*", Place::Nothing),
            ("/metrics", "", Place::Nothing),
            ("/metrics", "//metrics", elsewhere("/metrics")),
            ("/metrics", "/./metrics", elsewhere("/metrics")),
            ("/metrics", "/a/../metrics//", elsewhere("/metrics/")),
            ("/metrics", "/a/../../..", elsewhere("/")),
            ("/metrics", "//evil.example/%2e%2e/%0aa b", elsewhere("/%0Aa%20b")),
            ("/metrics", "//evil.example", elsewhere("/evil.example")),
            ("/a/", "/a/", Place::Metrics),
            ("/a/", "/a/b", Place::Metrics),
            ("/a/", "/a", elsewhere("/a/")),
            ("/a/", "//a", elsewhere("/a/")),
            ("/a/", "/b", Place::Nothing),
            ("/", "/", Place::Metrics),
            ("/", "/metrics", Place::Metrics),
        ] {
            assert_eq!(place_of(path, telemetry_path), place, "{telemetry_path} {path}");
        }
    }
}
