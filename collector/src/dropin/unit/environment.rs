//! Files of environment variables, as `EnvironmentFile=` reads them (systemd.exec(5)).

/// A variable that a file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    /// The line it begins in, from 1.
    pub(super) line: usize,
}

const SPACES: &[char] = &[' ', '\t', '\n', '\r'];
const LINE_ENDS: &[char] = &['\n', '\r'];

/// The variables of a file in their order. What is none is passed over, as there.
///
/// A comment ends with its line, as from systemd 254 on: before, a backslash at its end continued it.
pub(super) fn variables(text: &str) -> Vec<Variable> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut found = Vec::new();
    loop {
        reader.skip(SPACES);
        let line = reader.line;
        match reader.peek() {
            None => break,
            Some('#' | ';') => reader.skip_line(),
            Some(_) => {
                let Some(name) = reader.name() else { continue };
                let value = reader.value();
                if is_name(&name) {
                    found.push(Variable { name, value, line });
                }
            }
        }
    }
    found
}

/// Whether a variable of the environment may be called so.
pub(super) fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_letter) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.rest = &self.rest[letter.len_utf8()..];
        self.line += usize::from(letter == '\n');
        Some(letter)
    }

    fn skip(&mut self, letters: &[char]) {
        while self.peek().is_some_and(|letter| letters.contains(&letter)) {
            self.next();
        }
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|letter| !LINE_ENDS.contains(&letter)) {}
    }

    /// What is before the equals sign; nothing if the line has none.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        loop {
            match self.next()? {
                '=' => break,
                end if LINE_ENDS.contains(&end) => return None,
                letter => name.push(letter),
            }
        }
        name.truncate(name.trim_end_matches(SPACES).len());
        Some(name)
    }

    fn value(&mut self) -> String {
        let mut value = String::new();
        // Quotes have a meaning before the first character that is outside of them.
        loop {
            self.skip(&[' ', '\t']);
            match self.peek() {
                Some(quote @ ('"' | '\'')) => {
                    self.next();
                    self.quoted(quote, &mut value);
                }
                Some(end) if LINE_ENDS.contains(&end) => {
                    self.next();
                    return value;
                }
                _ => break,
            }
        }
        self.unquoted(&mut value);
        value
    }

    fn quoted(&mut self, quote: char, value: &mut String) {
        while let Some(letter) = self.next() {
            match letter {
                _ if letter == quote => break,
                '\\' if quote == '"' => match self.next() {
                    Some(escaped @ ('"' | '\\' | '`' | '$')) => value.push(escaped),
                    Some('\n') | None => {}
                    Some(other) => value.extend(['\\', other]),
                },
                _ => value.push(letter),
            }
        }
    }

    /// The rest of a value. Spaces at its end go, unless the last of them is escaped.
    fn unquoted(&mut self, value: &mut String) {
        let mut kept = value.len();
        while let Some(letter) = self.next() {
            match letter {
                end if LINE_ENDS.contains(&end) => break,
                '\\' => {
                    if let Some(escaped) = self.next()
                        && !LINE_ENDS.contains(&escaped)
                    {
                        value.push(escaped);
                    }
                    kept = value.len();
                }
                _ => {
                    value.push(letter);
                    if !SPACES.contains(&letter) {
                        kept = value.len();
                    }
                }
            }
        }
        value.truncate(kept);
    }
}
