//! Specifiers of units, such as `%n` (systemd.unit(5), "Specifiers").

/// A unit by its name, and where its file is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit<'t> {
    /// With its type: `node_exporter@a.service`.
    pub(super) name: &'t str,
    /// The absolute path of its file.
    pub(super) path: &'t str,
}

/// The text with every specifier replaced.
///
/// # Errors
///
/// A specifier whose value this process does not know, or that does not exist.
pub(super) fn replace(text: &str, unit: Unit<'_>) -> Result<String, String> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        replaced.push_str(before);
        rest = after;
        let Some(letter) = rest.chars().next() else {
            replaced.push('%');
            break;
        };
        rest = &rest[letter.len_utf8()..];
        match value(letter, unit)? {
            Some(value) => replaced.push_str(&value),
            None => replaced.extend(['%', letter]),
        }
    }
    replaced.push_str(rest);
    Ok(replaced)
}

/// The value of a specifier; nothing if this is not one and stays as it is.
fn value(letter: char, unit: Unit<'_>) -> Result<Option<String>, String> {
    let stem = unit.name.rsplit_once('.').map_or(unit.name, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let is_template = instance.is_empty() && stem.contains('@');
    let last = prefix.rsplit_once('-').map_or(prefix, |(_, last)| last);
    let value = match letter {
        '%' => "%".to_owned(),
        'i' | 'I' | 'f' if is_template => {
            return Err(format!(
                "%{letter} is the instance of a template, which its file does not say; write its value"
            ));
        }
        'n' => unit.name.to_owned(),
        'N' => stem.to_owned(),
        'p' => prefix.to_owned(),
        'P' => unescape(prefix),
        'i' => instance.to_owned(),
        'I' => unescape(instance),
        'j' => last.to_owned(),
        'J' => unescape(last),
        'f' => {
            let path = unescape(if instance.is_empty() { prefix } else { instance });
            if path.starts_with('/') { path } else { format!("/{path}") }
        }
        'y' => unit.path.to_owned(),
        'Y' => unit.path.rsplit_once('/').map_or("/", |(folder, _)| folder).to_owned(),
        // Those of the system's service manager, which is root's.
        't' => "/run".to_owned(),
        'S' => "/var/lib".to_owned(),
        'C' => "/var/cache".to_owned(),
        'L' => "/var/log".to_owned(),
        'E' => "/etc".to_owned(),
        'T' => "/tmp".to_owned(),
        'V' => "/var/tmp".to_owned(),
        'u' | 'g' => "root".to_owned(),
        'U' | 'G' => "0".to_owned(),
        'h' => "/root".to_owned(),
        other if other.is_ascii_alphanumeric() => {
            return Err(format!(
                "the specifier %{other} is not known here; write its value, or %% for a percent sign"
            ));
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}

/// A part of a unit's name without its escaping: `-` is a slash, `\x2d` a byte (systemd-escape(1)).
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let hexadecimal = |byte: &u8| char::from(*byte).to_digit(16);
        match (first, after) {
            (b'-', _) => bytes.push(b'/'),
            (b'\\', [b'x', high, low, after @ ..])
                if let (Some(high), Some(low)) = (hexadecimal(high), hexadecimal(low)) =>
            {
                bytes.push((high * 16 + low) as u8);
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
