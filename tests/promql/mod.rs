//! What expressions in PromQL ask for.

use std::collections::BTreeSet;

/// After these come labels in parentheses.
const OF_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];

/// The names of the metrics in an expression; not those that a regular expression matches.
pub fn names(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let word = &rest[..rest.find(|c| !is_of_word(c)).unwrap_or(rest.len())];
        rest = match first {
            '"' | '\'' => after(&rest[1..], first),
            '{' => after_matchers(rest),
            '[' => after(rest, ']'),
            _ if word.is_empty() => &rest[first.len_utf8()..],
            _ => {
                let next = rest[word.len()..].trim_start();
                // A sum may say by which labels before it says of what.
                let is_called = ["(", "by ", "without "].iter().any(|more| next.starts_with(more));
                if OF_LABELS.contains(&word) && next.starts_with('(') {
                    after(next, ')')
                } else {
                    let is_name = !first.is_ascii_digit() && !is_called;
                    if is_name && !OF_LABELS.contains(&word) && !OPERATORS.contains(&word) {
                        names.insert(word.to_owned());
                    }
                    next
                }
            }
        };
    }
    names
}

/// What follows the first such character.
fn after(text: &str, end: char) -> &str {
    text.split_once(end).unwrap_or_else(|| panic!("{text:?} does not end with {end}")).1
}

/// What follows matchers, in whose values braces may be.
fn after_matchers(text: &str) -> &str {
    let mut is_quoted = false;
    let end = text.find(|c| {
        is_quoted ^= c == '"';
        c == '}' && !is_quoted
    });
    &text[end.expect("matchers end") + 1..]
}

#[test]
fn names_are_those_of_metrics() {
    let names = |expression: &str| names(expression).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(
        names("sum by (mode) (rate(cpu_total{mode=\"}\"}[5m])) / on () group_left () b"),
        "b cpu_total"
    );
    assert_eq!(
        names("a:b:c > 0.5 and min_over_time(up[1d]) == 0 unless x offset 1h"),
        "a:b:c up x"
    );
    assert_eq!(
        names(
            "rate(label_replace({__name__=~\"n.*\"}, \"name\", \"$1\", \"x\", \"(.+)\")[5m:15s]) * 1000"
        ),
        ""
    );
}
