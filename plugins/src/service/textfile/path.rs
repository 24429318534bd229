//! Paths as users of node_exporter write them: patterns with `*`, `?`, `[...]`, in the dialect of
//! Go's `path/filepath`, and paths made plain as the label `file` shows them.

use vitald_core::host::Listing;
use vitald_core::prelude::*;

/// A pattern that is not well formed. It is taken as a plain path then.
#[derive(Debug, PartialEq)]
pub(super) struct BadPattern;

/// Whether text is a pattern at all.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether a name without slashes matches a pattern such as `backup-[0-9]*`.
pub(super) fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let (mut pattern, mut name) = (pattern, name);
    // Where to go on when what follows the last star does not match: the star takes one more.
    let mut retry: Option<(&str, &str)> = None;
    // A pattern is looked through to its end even when it cannot match any more.
    check(pattern)?;
    loop {
        if let Some(rest) = pattern.strip_prefix('*') {
            pattern = rest;
            retry = Some((rest, name));
            continue;
        }
        if pattern.is_empty() && name.is_empty() {
            return Ok(true);
        }
        let step = name.chars().next().and_then(|first| {
            let after = name.get(first.len_utf8()..)?;
            Some((one(pattern, first).ok()??, after))
        });
        if let Some((rest, after)) = step {
            (pattern, name) = (rest, after);
            continue;
        }
        let Some((after_star, from)) = retry else { return Ok(false) };
        let mut longer = from.chars();
        if longer.next().is_none() {
            return Ok(false);
        }
        (pattern, name) = (after_star, longer.as_str());
        retry = Some((after_star, name));
    }
}

/// Whether a pattern is well formed.
pub(super) fn check(pattern: &str) -> Result<(), BadPattern> {
    let mut rest = pattern;
    while !rest.is_empty() {
        rest = match rest.strip_prefix('*') {
            Some(rest) => rest,
            None => element(rest, '\0')?.0,
        };
    }
    Ok(())
}

/// The rest of the pattern when its first element, no star, matches a character.
fn one(pattern: &str, character: char) -> Result<Option<&str>, BadPattern> {
    if pattern.is_empty() {
        return Ok(None);
    }
    element(pattern, character).map(|(rest, matched)| matched.then_some(rest))
}

/// The rest after the first element of a pattern, and whether that matches a character.
fn element(pattern: &str, character: char) -> Result<(&str, bool), BadPattern> {
    let mut rest = pattern.chars();
    let matched = match rest.next() {
        Some('?') => true,
        Some('[') => {
            let inverted = rest.as_str().starts_with('^');
            if inverted {
                rest.next();
            }
            let mut found = false;
            let mut ranges = 0;
            while ranges == 0 || !rest.as_str().starts_with(']') {
                let low = bound(&mut rest)?;
                let mut high = low;
                if rest.as_str().starts_with('-') {
                    rest.next();
                    high = bound(&mut rest)?;
                }
                found |= (low..=high).contains(&character);
                ranges += 1;
            }
            rest.next();
            found != inverted
        }
        Some('\\') => rest.next().ok_or(BadPattern)? == character,
        Some(plain) => plain == character,
        None => return Err(BadPattern),
    };
    Ok((rest.as_str(), matched))
}

/// One end of a range in brackets.
fn bound(rest: &mut std::str::Chars<'_>) -> Result<char, BadPattern> {
    match rest.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => rest.next().ok_or(BadPattern),
        Some(character) => Ok(character),
    }
    .and_then(|character| if rest.as_str().is_empty() { Err(BadPattern) } else { Ok(character) })
}

/// Appends a path without doubled slashes, `.` and `x/..`, as node_exporter's labels show it.
pub(super) fn push_plain(out: &mut String, directory: &str, name: &str) {
    let start = out.len();
    let is_absolute = directory.starts_with('/');
    if is_absolute {
        out.push('/');
    }
    let root = out.len();
    for component in directory.split('/').chain([name]) {
        match component {
            "" | "." => {}
            ".." => {
                let path = out.get(root..).unwrap_or_default();
                let last = path.rfind('/').map_or(0, |slash| slash + 1);
                let climbs = path.is_empty() || path.get(last..) == Some("..");
                if climbs && is_absolute {
                    continue;
                }
                if climbs {
                    if !path.is_empty() {
                        out.push('/');
                    }
                    out.push_str("..");
                } else {
                    out.truncate(root + last.saturating_sub(1));
                }
            }
            component => {
                if out.len() > root {
                    out.push('/');
                }
                out.push_str(component);
            }
        }
    }
    if out.len() == start {
        out.push('.');
    }
}

/// A directory setting.
pub(super) struct Directories {
    setting: String,
    /// The part before the first component with a pattern in it, and those from there on.
    pattern: Option<(String, Vec<String>)>,
    found: Paths,
    next: Paths,
}

/// Paths one after another, in memory that is used again.
#[derive(Default)]
struct Paths {
    text: String,
    ends: Vec<usize>,
}

impl Paths {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn push(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.text.get(start..*end))
    }
}

impl Directories {
    pub(super) fn new(setting: String) -> Self {
        let is_well_formed = check(&setting).is_ok();
        let first = setting.split('/').position(is_pattern).filter(|_| is_well_formed);
        let pattern = first.map(|first| {
            let before: Vec<&str> = setting.split('/').take(first).collect();
            let before = match before.as_slice() {
                [] => ".".to_owned(),
                [""] => "/".to_owned(),
                components => components.join("/"),
            };
            (before, setting.split('/').skip(first).map(str::to_owned).collect())
        });
        Directories { setting, pattern, found: Paths::default(), next: Paths::default() }
    }

    /// Passes on each directory that the setting means now, in order. A pattern that nothing
    /// matches is taken as it is.
    pub(super) fn each(
        &mut self,
        host: &Host,
        path: &mut String,
        listing: &mut Listing,
        mut each: impl FnMut(&str),
    ) {
        if let Some((before, components)) = &self.pattern {
            self.found.clear();
            self.found.push(|text| text.push_str(before));
            for component in components {
                self.next.clear();
                for directory in self.found.iter() {
                    path.clear();
                    path.push_str("file:");
                    path.push_str(directory);
                    if host.list(path, listing).is_err() {
                        continue;
                    }
                    let names = listing.iter().filter_map(|entry| str::from_utf8(entry.name).ok());
                    for name in names.filter(|name| matches(component, name) == Ok(true)) {
                        self.next.push(|text| push_plain(text, directory, name));
                    }
                }
                std::mem::swap(&mut self.found, &mut self.next);
            }
            if !self.found.ends.is_empty() {
                return self.found.iter().for_each(each);
            }
        }
        each(&self.setting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::MemoryHost;

    #[test]
    fn patterns_match_names() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*", ".abc", true),
            ("a*c", "abbc", true),
            ("a*c*e", "abcde", true),
            ("a*c*f", "abcde", false),
            ("*bc", "abcbc", true),
            ("a?c", "aéc", true),
            ("a?", "a", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]", "]", false),
            ("[\\]x]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("abc", "ab", false),
            ("ab", "abc", false),
        ] {
            let is_bad = pattern == "[]";
            let expected = if is_bad { Err(BadPattern) } else { Ok(expected) };
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn bad_patterns_are_reported() {
        for pattern in ["[", "[a", "[a-", "[a-]", "[-x]", "a\\", "x[", "*["] {
            assert_eq!(check(pattern), Err(BadPattern), "{pattern}");
        }
    }

    #[test]
    fn paths_are_made_plain() {
        for (directory, name, expected) in [
            ("/a//b/", "c", "/a/b/c"),
            ("./a/.", "c", "a/c"),
            ("/..", "c", "/c"),
            ("../../a/../..", "c", "../../../c"),
            ("a/b/../..", "c", "c"),
            ("a/..", ".", "."),
            ("/", "c", "/c"),
            ("/a/..", "", "/"),
        ] {
            let mut plain = String::new();
            push_plain(&mut plain, directory, name);
            assert_eq!(plain, expected, "{directory} {name}");
        }
    }

    fn found(setting: &str) -> Vec<String> {
        let memory = MemoryHost::new();
        for directory in ["file:/t/a1/x", "file:/t/a2/x", "file:/t/a2/y", "file:/t/b/x"] {
            memory.make_directory(directory);
        }
        let mut directories = Directories::new(setting.to_owned());
        let (mut path, mut listing) = (String::new(), Listing::new());
        let mut all = Vec::new();
        directories.each(&memory.host(), &mut path, &mut listing, |path| all.push(path.to_owned()));
        let first = std::mem::take(&mut all);
        directories.each(&memory.host(), &mut path, &mut listing, |path| all.push(path.to_owned()));
        assert_eq!(first, all);
        all
    }

    #[test]
    fn settings_stand_for_directories() {
        assert_eq!(found("/t/a*"), ["/t/a1", "/t/a2"]);
        assert_eq!(found("/t//*/x"), ["/t/a1/x", "/t/a2/x", "/t/b/x"]);
        assert_eq!(found("/t/a[2-9]/?"), ["/t/a2/x", "/t/a2/y"]);
        assert_eq!(found("/t/none*"), ["/t/none*"]);
        assert_eq!(found("/t/a*/"), ["/t/a*/"]);
        assert_eq!(found("/t/a["), ["/t/a["]);
        assert_eq!(found("/t/a1"), ["/t/a1"]);
        assert_eq!(found("/no/a1/"), ["/no/a1/"]);
    }
}
