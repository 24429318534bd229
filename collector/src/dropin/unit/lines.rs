//! The assignments of a unit's text, as systemd.syntax(7) has them.

/// `Key=value` of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) key: String,
    pub(super) value: String,
    /// The line it begins in, from 1.
    pub(super) line: usize,
}

/// The assignments of one section in their order. What is none is passed over, as there.
pub(super) fn assignments(text: &str, section: &str) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut is_inside = false;
    for (line, text) in logical_lines(text.trim_start_matches('\u{feff}')) {
        let text = text.trim_matches(SPACES);
        if let Some(name) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            is_inside = name == section;
        } else if let Some((key, value)) = text.split_once('=')
            && is_inside
        {
            let [key, value] = [key, value].map(|part| part.trim_matches(SPACES).to_owned());
            found.push(Assignment { key, value, line });
        }
    }
    found
}

const SPACES: &[char] = &[' ', '\t', '\n', '\r'];

/// Lines with what continues them, and where they begin. Comments are left out.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    // A line that is continued, and where it begins.
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.split('\n')) {
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start_matches(SPACES);
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (from, mut text) = open.take().unwrap_or((number, String::new()));
        let is_continued = line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        match line.strip_suffix('\\').filter(|_| is_continued) {
            // The backslash becomes a space.
            Some(line) => {
                text.extend([line, " "]);
                open = Some((from, text));
            }
            None => {
                text.push_str(line);
                lines.push((from, text));
            }
        }
    }
    lines.extend(open);
    lines
}
