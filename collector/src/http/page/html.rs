//! How the status page writes texts and times.

use std::fmt::{self, Display};

/// Text that cannot become markup, in an element or in a quoted attribute, nor turn round what follows it.
pub(super) struct Escaped<'a>(pub(super) &'a str);

/// The characters that rule the direction of what follows (Unicode, UAX 9, explicit formatting).
fn turns(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let is_special = |c: char| matches!(c, '<' | '>' | '&' | '"' | '\'') || turns(c);
        while let Some(at) = rest.find(is_special) {
            let (before, from) = rest.split_at(at);
            f.write_str(before)?;
            let mut characters = from.chars();
            match characters.next() {
                Some('<') => f.write_str("&lt;"),
                Some('>') => f.write_str("&gt;"),
                Some('&') => f.write_str("&amp;"),
                Some('"') => f.write_str("&quot;"),
                Some('\'') => f.write_str("&#39;"),
                other => write!(f, "\\u{:04x}", other.map_or(0, u32::from)),
            }?;
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

/// A time as people read it.
pub(super) struct Seconds(pub(super) Option<f64>);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("–"),
            Some(value) if value < 0.001 => write!(f, "{:.0} µs", value * 1e6),
            Some(value) if value < 0.01 => write!(f, "{} ms", (value * 1e5).round() / 100.0),
            Some(value) if value < 0.1 => write!(f, "{} ms", (value * 1e4).round() / 10.0),
            Some(value) if value < 1.0 => write!(f, "{:.0} ms", value * 1e3),
            Some(value) if value < 10.0 => write!(f, "{} s", (value * 10.0).round() / 10.0),
            Some(value) if value < 120.0 => write!(f, "{value:.0} s"),
            Some(value) if value < 7_200.0 => write!(f, "{:.0} min", value / 60.0),
            Some(value) if value < 172_800.0 => write!(f, "{:.0} h", value / 3_600.0),
            Some(value) => write!(f, "{:.0} days", value / 86_400.0),
        }
    }
}

/// How long ago something was: what changes at each look is no news.
pub(super) struct Age(pub(super) Option<f64>);

impl Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(age) if age < 1.0 => f.write_str("now"),
            age => Seconds(age.map(f64::round)).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            Escaped("<a b=\"c\" d='e'>&ü").to_string(),
            "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;ü"
        );
    }

    #[test]
    fn text_cannot_turn_round_what_follows() {
        assert_eq!(Escaped("a\u{202e}b\u{2069}").to_string(), "a\\u202eb\\u2069");
    }

    #[test]
    fn times_read_well() {
        for (seconds, expected) in [
            (0.000_123_4, "123 µs"),
            (0.001_234, "1.23 ms"),
            (0.012_34, "12.3 ms"),
            (0.123_4, "123 ms"),
            (5.0, "5 s"),
            (5.25, "5.3 s"),
            (90.0, "90 s"),
            (600.0, "10 min"),
            (7_200.0, "2 h"),
            (864_000.0, "10 days"),
        ] {
            assert_eq!(Seconds(Some(seconds)).to_string(), expected);
        }
        assert_eq!(Seconds(None).to_string(), "–");
        let ages = [None, Some(0.3), Some(5.4), Some(600.0)];
        assert_eq!(ages.map(|age| Age(age).to_string()), ["–", "now", "5 s", "10 min"]);
    }
}
