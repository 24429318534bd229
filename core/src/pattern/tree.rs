//! Searching a short text of ASCII by walking the tree of an expression, as long as that costs little.
//!
//! Most expressions of a configuration are lists of names with a wildcard here and there, and meet some hundred
//! short names once. To compile one and to search with it takes twice the instructions, and was two fifths of those of a
//! start.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

/// How deep the calls of a walk may nest, in nodes: some hundred bytes of the stack each.
const DEEPEST: usize = 64;

/// How many nodes a walk visits before it gives up. Each name of the fields of `netstat` takes some twenty.
const STEPS: u32 = 1_000;

/// A longer text is not walked: a wildcard looks at all of it in one step.
const LONGEST: usize = 256;

/// An expression of texts of ASCII.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Node,
    /// Whether it can match at the beginning of a text alone.
    is_anchored: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Bytes(Box<[u8]>),
    /// So many of these at the least and at the most.
    Run(Set, usize, usize),
    Look(Look),
    Optional(Box<Node>),
    Sequence(Box<[Node]>),
    Branches(Box<[Node]>),
}

/// Some of the characters of ASCII, a bit each.
#[derive(Clone, Copy, Debug)]
struct Set(u128);

impl Set {
    fn has(self, byte: u8) -> bool {
        self.0 >> (byte & 0x7F) & 1 == 1
    }
}

impl Tree {
    /// `None` of what is not walked, which includes what nests deeply.
    pub(super) fn new(expression: &Hir) -> Option<Tree> {
        let is_anchored = expression.properties().look_set_prefix().contains(Look::Start);
        let mut depth = DEEPEST;
        Some(Tree { root: node(expression, &mut depth)?, is_anchored })
    }

    /// Whether it matches anywhere in the text; `None` where that takes too many steps, or the text is too long.
    pub(super) fn is_match(&self, text: &[u8]) -> Option<bool> {
        if text.len() > LONGEST {
            return None;
        }
        let mut walk = Walk { text, left: STEPS };
        let last = if self.is_anchored { 0 } else { text.len() };
        for start in 0..=last {
            if walk.matches(&self.root, start, &Rest::Nothing)? {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// The calls for a node nest as deep as the calls for the parts of a sequence together, and for the deepest branch.
fn node(tree: &Hir, depth: &mut usize) -> Option<Node> {
    *depth = depth.checked_sub(1)?;
    Some(match tree.kind() {
        HirKind::Empty => Node::Bytes(Box::default()),
        HirKind::Literal(literal) => Node::Bytes(literal.0.clone()),
        HirKind::Class(_) => Node::Run(set(tree)?, 1, 1),
        HirKind::Look(look @ (Look::Start | Look::End | Look::StartLF | Look::EndLF)) => {
            Node::Look(*look)
        }
        HirKind::Look(_) => return None,
        HirKind::Capture(capture) => node(&capture.sub, depth)?,
        HirKind::Concat(parts) => {
            Node::Sequence(parts.iter().map(|part| node(part, depth)).collect::<Option<_>>()?)
        }
        HirKind::Alternation(branches) => {
            let before = *depth;
            let mut branch = |branch| {
                let mut left = before;
                let node = node(branch, &mut left);
                *depth = left.min(*depth);
                node
            };
            Node::Branches(branches.iter().map(&mut branch).collect::<Option<_>>()?)
        }
        HirKind::Repetition(Repetition { min, max, sub, .. }) => match set(sub) {
            Some(set) => Node::Run(set, *min as usize, max.map_or(usize::MAX, |max| max as usize)),
            None if (*min, *max) == (0, Some(1)) => Node::Optional(Box::new(node(sub, depth)?)),
            None => return None,
        },
    })
}

/// That of a class, or of a literal of one byte.
fn set(tree: &Hir) -> Option<Set> {
    let ranges: &mut dyn Iterator<Item = (u32, u32)> = match tree.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            &mut class.iter().map(|range| (range.start().into(), range.end().into()))
        }
        HirKind::Class(Class::Bytes(class)) => {
            &mut class.iter().map(|range| (range.start().into(), range.end().into()))
        }
        HirKind::Literal(literal) => match *literal.0 {
            [byte] => &mut std::iter::once((byte.into(), byte.into())),
            _ => return None,
        },
        _ => return None,
    };
    let mut set = Set(0);
    for (first, last) in ranges {
        for character in first..=last.min(0x7F) {
            set.0 |= 1 << character;
        }
    }
    Some(set)
}

/// What has to match behind a node.
#[derive(Clone, Copy)]
enum Rest<'t> {
    Nothing,
    /// These, one behind the other, and then the others.
    Nodes(&'t [Node], &'t Rest<'t>),
}

struct Walk<'t> {
    text: &'t [u8],
    /// Steps.
    left: u32,
}

impl Walk<'_> {
    /// Whether the text has at this place what the node matches, and behind that the rest; `None` without steps left.
    fn matches(&mut self, node: &Node, at: usize, rest: &Rest<'_>) -> Option<bool> {
        self.left = self.left.checked_sub(1)?;
        let text = self.text.get(at..).unwrap_or_default();
        match node {
            Node::Bytes(bytes) => {
                Some(text.starts_with(bytes) && self.goes_on(at + bytes.len(), rest)?)
            }
            Node::Run(set, least, most) => {
                let run = text.iter().take(*most).take_while(|&&byte| set.has(byte)).count();
                for times in *least..=run {
                    if is_worth_it(rest, text.get(times)) && self.goes_on(at + times, rest)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
            Node::Look(look) => Some(self.holds(*look, at) && self.goes_on(at, rest)?),
            Node::Optional(node) => Some(self.matches(node, at, rest)? || self.goes_on(at, rest)?),
            Node::Sequence(nodes) => self.goes_on(at, &Rest::Nodes(nodes, rest)),
            Node::Branches(nodes) => {
                for node in nodes {
                    if self.matches(node, at, rest)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
        }
    }

    fn goes_on(&mut self, at: usize, rest: &Rest<'_>) -> Option<bool> {
        match rest {
            Rest::Nothing => Some(true),
            Rest::Nodes([], rest) => self.goes_on(at, rest),
            Rest::Nodes([node, nodes @ ..], rest) => {
                self.matches(node, at, &Rest::Nodes(nodes, rest))
            }
        }
    }

    fn holds(&self, look: Look, at: usize) -> bool {
        let is_newline = |at: usize| self.text.get(at) == Some(&b'\n');
        match look {
            Look::Start => at == 0,
            Look::End => at == self.text.len(),
            Look::StartLF => at == 0 || is_newline(at - 1),
            Look::EndLF => at == self.text.len() || is_newline(at),
            _ => false,
        }
    }
}

/// Whether the rest may begin with this byte, or with the end of the text: a wildcard tries each place.
fn is_worth_it(rest: &Rest<'_>, next: Option<&u8>) -> bool {
    match rest {
        Rest::Nodes([Node::Bytes(bytes), ..], _) => {
            bytes.first().is_none_or(|first| next == Some(first))
        }
        Rest::Nodes([Node::Look(Look::End)], Rest::Nothing) => next.is_none(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use crate::pattern::Pattern;

    /// Whether the text matches, and whether that was found without compiling the expression.
    fn outcome(expression: &str, text: &str) -> (bool, bool) {
        let pattern = Pattern::new(expression).unwrap();
        (pattern.matches(text.as_bytes()), pattern.for_ascii.get().is_none())
    }

    #[test]
    fn lists_of_names_are_walked() {
        let fields = "^(.*_(InErrors|InErrs)|Ip(6|Ext)_(InOctets|OutOctets)|TcpExt_(Listen.*|TCPSynRetrans)|Tcp_.*)$";
        for (name, is_taken) in [
            ("Udp6_InErrors", true),
            ("IpExt_OutOctets", true),
            ("TcpExt_ListenDrops", true),
            ("Tcp_", true),
            ("InErrors", false),
            ("TcpExt_TCPSynRetrans_", false),
            ("", false),
        ] {
            assert_eq!(outcome(fields, name), (is_taken, true), "{name}");
        }
    }

    /// For its text or its shape.
    #[test]
    fn what_costs_too_much_to_walk_is_compiled() {
        let long = "a".repeat(200);
        assert_eq!(outcome("a*a*a*a*b", &long), (false, false));
        assert_eq!(outcome("a*a*a*a*b", "aaab"), (true, true));
        assert_eq!(outcome("a$", &long.repeat(2)), (true, false));
        assert_eq!(outcome("(ab|c){99}", "c"), (false, false));
        assert_eq!(outcome(r"\ba", "c a"), (true, false));
        let nested = |times| format!("{}b{}", "(a|c".repeat(times), ")".repeat(times));
        assert_eq!(outcome(&nested(10), "cccccccccb"), (false, true));
        assert_eq!(outcome(&nested(40), "cb"), (false, false));
    }
}
