//! Which group a process belongs to.

use std::borrow::Cow;

use vitald_core::host::Children;
use vitald_core::prelude::*;
use vitald_core::setting_table;
use vitald_core::settings::{Node, Setting, Value, nearest};

use super::parse;

/// The kernel gives at most 6 MiB to the arguments and the environment together (execve(2)). The
/// class path of a Java program alone is often longer than a page, and what tells one from another
/// comes after it.
const LONGEST_COMMAND_LINE: usize = 6 << 20;

/// What is kept of the memory that a command line took.
const KEPT_COMMAND_LINE: usize = 64 << 10;

/// A group's name is cut here, because text that a program chooses may be in it.
const LONGEST_NAME: usize = 128;

setting_table! { pub(super) Rule:
    /// The group's name. In it `${comm}` is the command name, `${user}` the user, and
    /// `${word}` for what the group `(?P<word>...)` of one of the patterns caught.
    name: Template = "${comm}";
    /// Matches the command name, of which the kernel keeps 15 bytes.
    command: Option<Pattern> = UNSET;
    /// Matches the command line, the arguments joined by blanks.
    command_line: Option<Pattern> = UNSET;
    /// The effective user, by name in the host's `/etc/passwd` or by number.
    user: Option<User> = UNSET;
    /// Matches the path of the process in one of the control group hierarchies.
    cgroup: Option<Pattern> = UNSET;
}

/// A name with variables in it.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Part {
    Literal(String),
    CommandName,
    UserName,
    Capture(String),
}

impl Setting for Template {
    const KIND: &'static str = "name of a group";

    fn decode(value: &Value) -> Result<Self, String> {
        let text = String::decode(value)?;
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((literal, variable)) = rest.split_once("${") {
            let (variable, tail) = variable
                .split_once('}')
                .ok_or("a ${ in the name of a group needs a } after the variable's name")?;
            parts.push(Part::Literal(literal.to_owned()));
            parts.push(match variable {
                "comm" => Part::CommandName,
                "user" => Part::UserName,
                _ => Part::Capture(variable.to_owned()),
            });
            rest = tail;
        }
        parts.push(Part::Literal(rest.to_owned()));
        parts.retain(|part| *part != Part::Literal(String::new()));
        if parts.is_empty() {
            Err("a group needs a name".to_owned())
        } else {
            Ok(Template { parts })
        }
    }
}

/// A user as a rule names it.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum User {
    Number(u32),
    Name(String),
}

impl Setting for User {
    const KIND: &'static str = "name or number of a user";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Integer(_) => u32::decode(value).map(User::Number),
            Node::Text(text) => {
                Ok(text.parse().map_or_else(|_| User::Name(text.clone()), User::Number))
            }
            other => Err(format!("expected the name or number of a user, found {}", other.noun())),
        }
    }
}

/// The rules, and what they know of the process they are asked about.
pub(super) struct Rules {
    rules: Vec<Rule>,
    /// Whether any rule looks at more than the command name.
    needs_files: bool,
    host: Host,
    /// The host's users, read when a new process is to be asked about, not more than once a
    /// collection.
    users: Vec<u8>,
    users_are_read: bool,
    facts: Facts,
    name: Vec<u8>,
}

/// Of one process; each is read when the first rule asks for it.
#[derive(Default)]
struct Facts {
    command_name: Vec<u8>,
    command_line: Fact,
    cgroup: Fact,
    user: Option<Option<u32>>,
}

#[derive(Default)]
struct Fact {
    text: Vec<u8>,
    is_read: bool,
}

impl Rules {
    /// Checks each rule's variables against its patterns.
    pub(super) fn check(rules: &[Rule]) -> Result<()> {
        for (position, rule) in rules.iter().enumerate() {
            for part in &rule.name.parts {
                let Part::Capture(wanted) = part else { continue };
                let known = || rule.patterns().flat_map(Pattern::group_names);
                if !known().any(|name| name == wanted) {
                    let meant = nearest(wanted, known().chain(["comm", "user"]));
                    let hint = meant.map_or_else(
                        || "no pattern of the rule has a group of that name".to_owned(),
                        |meant| format!("did you mean ${{{meant}}}?"),
                    );
                    let number = position + 1;
                    let message = format!("rule {number}: nothing sets ${{{wanted}}}; {hint}");
                    return Err(Error::setting("rules", message));
                }
            }
        }
        Ok(())
    }

    /// From rules that have been checked.
    pub(super) fn new(mut rules: Vec<Rule>, host: &Host) -> Self {
        if rules.is_empty() {
            let name = Template { parts: vec![Part::CommandName] };
            rules =
                vec![Rule { name, command: None, command_line: None, user: None, cgroup: None }];
        }
        let needs_files = rules.iter().any(Rule::needs_files);
        Rules {
            rules,
            needs_files,
            host: host.clone(),
            users: Vec::new(),
            users_are_read: false,
            facts: Facts::default(),
            name: Vec::new(),
        }
    }

    /// Whether any rule looks at more than the command name, which can change without it.
    pub(super) fn need_files(&self) -> bool {
        self.needs_files
    }

    /// Forgets what may have changed since the last collection.
    pub(super) fn begin_collection(&mut self) {
        self.users_are_read = false;
    }

    /// The name of the group of a process, `None` if no rule takes it.
    pub(super) fn group_of(
        &mut self,
        process: &[u8],
        command_name: &[u8],
        children: &mut Children,
    ) -> Option<&[u8]> {
        self.facts.start(command_name);
        for position in 0..self.rules.len() {
            if self.matches(position, process, children) {
                self.expand(position, process, children);
                // A pattern may have caught nothing, and a group needs a name.
                if !self.name.is_empty() {
                    return Some(&self.name);
                }
            }
        }
        None
    }

    /// The conditions in the order of their cost.
    fn matches(&mut self, position: usize, process: &[u8], children: &mut Children) -> bool {
        let Some(rule) = self.rules.get(position) else { return false };
        let facts = &mut self.facts;
        if rule.command.as_ref().is_some_and(|pattern| !pattern.matches(&facts.command_name)) {
            return false;
        }
        if let Some(user) = &rule.user {
            let wanted = match user {
                User::Number(number) => Some(*number),
                User::Name(name) => {
                    load_users(&self.host, &mut self.users, &mut self.users_are_read);
                    number_of_user(&self.users, name.as_bytes())
                }
            };
            if wanted.is_none() || facts.user(process, children) != wanted {
                return false;
            }
        }
        if let Some(pattern) = &rule.cgroup {
            let cgroup = facts.cgroup(process, children);
            if !lines(cgroup).any(|line| pattern.matches(cgroup_path(line))) {
                return false;
            }
        }
        rule.command_line
            .as_ref()
            .is_none_or(|pattern| pattern.matches(facts.command_line(process, children)))
    }

    /// Puts the group's name together.
    fn expand(&mut self, position: usize, process: &[u8], children: &mut Children) {
        let Rules { rules, host, users, users_are_read, facts, name, .. } = self;
        name.clear();
        let Some(rule) = rules.get(position) else { return };
        for part in &rule.name.parts {
            match part {
                Part::Literal(text) => name.extend_from_slice(text.as_bytes()),
                Part::CommandName => name.extend_from_slice(&facts.command_name),
                Part::UserName => {
                    load_users(host, users, users_are_read);
                    if let Some(number) = facts.user(process, children) {
                        match name_of_user(users, number) {
                            Some(user) => name.extend_from_slice(user),
                            None => name.extend_from_slice(number.to_string().as_bytes()),
                        }
                    }
                }
                Part::Capture(wanted) => rule.capture(wanted, facts, name),
            }
        }
        make_text(name);
    }
}

/// Makes text of a name, as it will be shown, and cuts it.
///
/// The kernel cuts a command name after 15 bytes, be it in the middle of a character. What is left
/// of the character is shown as U+FFFD; two names that differ there alone are shown as one, so they
/// have to be one group.
fn make_text(name: &mut Vec<u8>) {
    if let Cow::Owned(text) = String::from_utf8_lossy(name) {
        *name = text.into_bytes();
    }
    while name.len() > LONGEST_NAME {
        // Whole characters go: one begins at every byte that does not continue another.
        while name.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
    }
}

impl Rule {
    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        [&self.command, &self.command_line, &self.cgroup].into_iter().flatten()
    }

    fn needs_files(&self) -> bool {
        self.command_line.is_some()
            || self.user.is_some()
            || self.cgroup.is_some()
            || self.name.parts.contains(&Part::UserName)
    }

    /// Appends what a group of one of the patterns caught in what the rule has matched.
    fn capture(&self, wanted: &str, facts: &Facts, name: &mut Vec<u8>) {
        let mut append = |group: &str, caught: &[u8]| {
            if group == wanted {
                name.extend_from_slice(caught);
            }
        };
        if let Some(pattern) = &self.command {
            pattern.captures(&facts.command_name, &mut append);
        }
        if let Some(pattern) = &self.command_line {
            pattern.captures(&facts.command_line.text, &mut append);
        }
        if let Some(pattern) = &self.cgroup {
            // The first hierarchy that matches, as it was when the rule did.
            lines(&facts.cgroup.text).any(|line| pattern.captures(cgroup_path(line), &mut append));
        }
    }
}

impl Facts {
    /// Forgets the last process.
    fn start(&mut self, command_name: &[u8]) {
        self.command_name.clear();
        self.command_name.extend_from_slice(command_name);
        self.command_line.is_read = false;
        self.command_line.text.clear();
        self.command_line.text.shrink_to(KEPT_COMMAND_LINE);
        self.cgroup.is_read = false;
        self.user = None;
    }

    /// `None` if it cannot be read, because the process has gone or belongs to another user.
    fn user(&mut self, process: &[u8], children: &mut Children) -> Option<u32> {
        *self.user.get_or_insert_with(|| {
            children.read(process, "status").ok().and_then(|text| parse::status(text).found.user)
        })
    }

    fn cgroup(&mut self, process: &[u8], children: &mut Children) -> &[u8] {
        self.cgroup.load(move || children.read(process, "cgroup").ok())
    }

    fn command_line(&mut self, process: &[u8], children: &mut Children) -> &[u8] {
        let fact = &mut self.command_line;
        if !fact.is_read {
            fact.load(move || children.read_start(process, "cmdline", LONGEST_COMMAND_LINE).ok());
            join_arguments(&mut fact.text);
        }
        &fact.text
    }
}

impl Fact {
    fn load<'t>(&mut self, read: impl FnOnce() -> Option<&'t [u8]>) -> &[u8] {
        if !self.is_read {
            self.is_read = true;
            self.text.clear();
            self.text.extend_from_slice(read().unwrap_or_default());
        }
        &self.text
    }
}

fn load_users(host: &Host, users: &mut Vec<u8>, are_read: &mut bool) {
    if !*are_read {
        *are_read = true;
        if host.try_read("rootfs/etc/passwd", users).is_err() {
            users.clear();
        }
    }
}

/// Makes `/sbin/init splash` of the arguments `/sbin/init\0splash\0`.
fn join_arguments(command_line: &mut Vec<u8>) {
    while command_line.last() == Some(&0) {
        command_line.pop();
    }
    for byte in command_line {
        if *byte == 0 {
            *byte = b' ';
        }
    }
}

/// Takes the path of `0::/system.slice/cron.service`, a line of `proc/PID/cgroup` (cgroups(7)).
fn cgroup_path(line: &[u8]) -> &[u8] {
    line.splitn(3, |&byte| byte == b':').nth(2).unwrap_or_default()
}

/// Takes the number of a user from its line `www-data:x:33:33:www-data:/var/www:/bin/sh`.
fn number_of_user(users: &[u8], name: &[u8]) -> Option<u32> {
    users_in(users).find_map(|(user, number)| (user == name).then_some(number))
}

/// Takes the name of a user from its line, as above.
fn name_of_user(users: &[u8], wanted: u32) -> Option<&[u8]> {
    users_in(users).find_map(|(user, number)| (number == wanted).then_some(user))
}

fn users_in(users: &[u8]) -> impl Iterator<Item = (&[u8], u32)> {
    lines(users).filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let number = text::single_u64(fields.nth(1)?).ok()?;
        Some((name, u32::try_from(number).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::Origin;

    #[test]
    fn names_are_put_together_of_parts() {
        let decode = |text: &str| Template::decode(&Value::new(text, Origin::Default));
        assert_eq!(
            decode("a-${comm}${x}$").unwrap().parts,
            [
                Part::Literal("a-".into()),
                Part::CommandName,
                Part::Capture("x".into()),
                Part::Literal("$".into())
            ]
        );
        assert!(decode("${comm").is_err());
        assert!(decode("").is_err());
    }

    #[test]
    fn arguments_are_joined() {
        for (text, joined) in [
            (&b"/sbin/init\0splash\0"[..], &b"/sbin/init splash"[..]),
            (b"", b""),
            (b"\0\0", b""),
            (b"a\0\0b", b"a  b"),
            (b"postgres: writer   \0\0\0", b"postgres: writer   "),
        ] {
            let mut text = text.to_vec();
            join_arguments(&mut text);
            assert_eq!(text, joined);
        }
    }

    #[test]
    fn names_are_text_and_are_cut_between_characters() {
        let text = |name: &[u8]| {
            let mut name = name.to_vec();
            make_text(&mut name);
            String::from_utf8(name).unwrap()
        };
        assert_eq!(text(b"inner-job-\xe5\x90\x8c\xe6\xad"), "inner-job-\u{540c}\u{fffd}");
        assert_eq!(text(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        let long = "\u{540c}".repeat(60);
        assert_eq!(text(long.as_bytes()), "\u{540c}".repeat(LONGEST_NAME / 3));
        // A byte becomes three; that does not lift the limit.
        assert_eq!(text(&[0xff; 120]).len(), LONGEST_NAME / 3 * 3);
    }

    #[test]
    fn paths_of_control_groups() {
        assert_eq!(cgroup_path(b"0::/system.slice/a:b.service"), b"/system.slice/a:b.service");
        assert_eq!(cgroup_path(b"4:memory:/x"), b"/x");
        assert_eq!(cgroup_path(b"no such line"), b"");
    }

    #[test]
    fn users_by_name_and_number() {
        let users = b"root:x:0:0:root:/root:/bin/sh\nodd line\nwww:x:33:33:::\nbad:x:y:1\n";
        assert_eq!(number_of_user(users, b"www"), Some(33));
        assert_eq!(number_of_user(users, b"bad"), None);
        assert_eq!(name_of_user(users, 0), Some(&b"root"[..]));
        assert_eq!(name_of_user(users, 1), None);
    }

    #[test]
    fn an_unknown_variable_is_reported() {
        let rule = |name: &str| Rule {
            name: Template::decode(&Value::new(name, Origin::Default)).unwrap(),
            command: Some(Pattern::new("(?P<first>.)").unwrap()),
            command_line: None,
            user: None,
            cgroup: None,
        };
        assert!(Rules::check(&[rule("${first}")]).is_ok());
        let message = Rules::check(&[rule("a"), rule("${frist}")]).err().unwrap().to_string();
        assert_eq!(message, "rules: rule 2: nothing sets ${frist}; did you mean ${first}?");
    }
}
