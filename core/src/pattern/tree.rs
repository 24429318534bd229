//! Searching a short text of ASCII by walking the tree of an expression, as long as that costs little.
//!
//! Most expressions of a configuration are lists of names with a wildcard here and there, and meet some hundred
//! short names once. To compile one and to search with it takes twice the instructions, and was two fifths of those of a
//! start.

use memchr::memchr;
use std::mem;

/// How deep the calls of a walk may nest, in nodes: some hundred bytes of the stack each.
const DEEPEST: usize = 64;

/// How many nodes a walk visits before it gives up. Each name of the fields of `netstat` takes some ten.
const STEPS: u32 = 1_000;

/// A longer text is not walked: a wildcard looks at all of it in one step.
const LONGEST: usize = 256;

/// An expression of texts of ASCII.
#[derive(Debug)]
pub(super) struct Tree {
    root: Node,
    /// Whether it can match at the beginning of a text alone.
    is_anchored: bool,
}

#[derive(Debug)]
enum Node {
    Bytes(Vec<u8>),
    /// So many of these at the least and at the most.
    Run(Set, usize, usize),
    Look(Look),
    Optional(Box<Node>),
    Sequence(Vec<Node>),
    Branches(Vec<Node>),
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Look {
    Start,
    End,
    LineStart,
    LineEnd,
}

/// Some of the characters of ASCII, a bit each.
#[derive(Clone, Copy, Debug)]
struct Set(u128);

impl Set {
    fn has(self, byte: u8) -> bool {
        self.0 >> (byte & 0x7F) & 1 == 1
    }
}

/// Makes a tree of the items of an expression, in their order.
#[derive(Default)]
pub(super) struct Builder {
    outer: Vec<Group>,
    group: Group,
    /// Whether the last item is all of the last node, and not its last byte.
    is_whole: bool,
    /// It has something that is not walked.
    is_given_up: bool,
}

/// The inside of a group, or the whole.
#[derive(Default)]
struct Group {
    /// All but the last.
    branches: Vec<Node>,
    /// Of the last branch.
    nodes: Vec<Node>,
}

impl Group {
    /// Ends the branch.
    fn next_branch(&mut self) {
        let mut nodes = mem::take(&mut self.nodes);
        self.branches.push(match nodes.len() {
            0 => Node::Bytes(Vec::new()),
            1 => nodes.remove(0),
            _ => Node::Sequence(nodes),
        });
    }

    fn into_node(mut self) -> Node {
        self.next_branch();
        match self.branches.len() {
            1 => self.branches.remove(0),
            _ => Node::Branches(self.branches),
        }
    }
}

impl Builder {
    pub(super) fn byte(&mut self, byte: u8) {
        match self.group.nodes.last_mut() {
            Some(Node::Bytes(bytes)) => bytes.push(byte),
            _ => self.group.nodes.push(Node::Bytes(vec![byte])),
        }
        self.is_whole = false;
    }

    /// One of some characters, a bit each.
    pub(super) fn set(&mut self, set: u128) {
        self.node(Node::Run(Set(set), 1, 1));
    }

    pub(super) fn look(&mut self, look: Look) {
        self.node(Node::Look(look));
    }

    /// Has no tree made.
    pub(super) fn give_up(&mut self) {
        self.is_given_up = true;
    }

    fn node(&mut self, node: Node) {
        self.group.nodes.push(node);
        self.is_whole = true;
    }

    pub(super) fn open(&mut self) {
        self.outer.push(mem::take(&mut self.group));
    }

    pub(super) fn next_branch(&mut self) {
        self.group.next_branch();
    }

    pub(super) fn close(&mut self) {
        let outer = self.outer.pop().unwrap_or_default();
        let node = mem::replace(&mut self.group, outer).into_node();
        self.node(node);
    }

    /// Repeats the last item.
    pub(super) fn repeat(&mut self, least: u32, most: Option<u32>) {
        let item = match self.group.nodes.last_mut() {
            Some(Node::Bytes(bytes)) if !self.is_whole && bytes.len() > 1 => {
                bytes.pop().map(|last| Node::Bytes(vec![last]))
            }
            _ => self.group.nodes.pop(),
        };
        let set = match &item {
            Some(Node::Run(set, 1, 1)) => Some(*set),
            Some(Node::Bytes(bytes)) => match **bytes {
                [byte] => Some(Set(1 << (byte & 0x7F))),
                _ => None,
            },
            _ => None,
        };
        let run = |set| {
            let most = most.map_or(usize::MAX, |most| most as usize);
            Node::Run(set, least as usize, most)
        };
        match (item, set) {
            (_, Some(set)) => self.node(run(set)),
            (Some(item), None) if (least, most) == (0, Some(1)) => {
                self.node(Node::Optional(Box::new(item)));
            }
            _ => self.give_up(),
        }
    }

    /// `None` of what is not walked, which includes what nests deeply.
    pub(super) fn finish(self) -> Option<Tree> {
        if self.is_given_up {
            return None;
        }
        let root = self.group.into_node();
        (root.depth() <= DEEPEST).then(|| Tree { is_anchored: root.is_anchored(), root })
    }
}

impl Node {
    /// How deep the calls for it nest: as deep as those for the parts of a sequence together, and as those for the
    /// deepest branch.
    fn depth(&self) -> usize {
        let within = match self {
            Node::Bytes(_) | Node::Run(..) | Node::Look(_) => 0,
            Node::Optional(node) => node.depth(),
            Node::Sequence(nodes) => nodes.iter().map(Node::depth).sum(),
            Node::Branches(nodes) => nodes.iter().map(Node::depth).max().unwrap_or_default(),
        };
        1 + within
    }

    fn is_anchored(&self) -> bool {
        match self {
            Node::Look(look) => *look == Look::Start,
            Node::Sequence(nodes) => nodes.first().is_some_and(Node::is_anchored),
            Node::Branches(nodes) => nodes.iter().all(Node::is_anchored),
            Node::Bytes(_) | Node::Run(..) | Node::Optional(_) => false,
        }
    }

    /// Whether it may match something that begins with this byte, or at the end of the text.
    fn may_begin(&self, next: Option<&u8>) -> bool {
        match self {
            Node::Bytes(bytes) => bytes.first().is_none_or(|first| next == Some(first)),
            Node::Run(set, least, _) => *least == 0 || next.is_some_and(|next| set.has(*next)),
            Node::Look(look) => *look != Look::End || next.is_none(),
            Node::Sequence(nodes) => nodes.first().is_none_or(|first| first.may_begin(next)),
            Node::Optional(_) | Node::Branches(_) => true,
        }
    }
}

impl Tree {
    /// Whether it matches anywhere in the text; `None` where that takes too many steps, or the text is too long.
    pub(super) fn is_match(&self, text: &[u8]) -> Option<bool> {
        if text.len() > LONGEST {
            return None;
        }
        let mut walk = Walk { text, left: STEPS };
        let last = if self.is_anchored { 0 } else { text.len() };
        for start in 0..=last {
            if self.root.may_begin(text.get(start))
                && walk.matches(&self.root, start, &Rest::Nothing)?
            {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// What has to match behind a node.
#[derive(Clone, Copy)]
enum Rest<'t> {
    Nothing,
    /// These, one behind the other, and then the others.
    Nodes(&'t [Node], &'t Rest<'t>),
}

impl Rest<'_> {
    /// What it begins with, if that is always the same byte.
    fn first_byte(&self) -> Option<u8> {
        match self {
            Rest::Nodes([Node::Bytes(bytes), ..], _) => bytes.first().copied(),
            _ => None,
        }
    }

    /// The same as of a node, of what has to match behind one.
    fn may_begin(&self, next: Option<&u8>) -> bool {
        match self {
            Rest::Nodes([node, ..], _) => node.may_begin(next),
            Rest::Nodes([], rest) => rest.may_begin(next),
            Rest::Nothing => true,
        }
    }
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
                let mut times = *least;
                while times <= run {
                    // A wildcard would else look at each place.
                    if let Some(first) = rest.first_byte() {
                        let places = text.get(times..).unwrap_or_default();
                        times += memchr(first, places).unwrap_or(places.len());
                    }
                    if times <= run
                        && rest.may_begin(text.get(times))
                        && self.goes_on(at + times, rest)?
                    {
                        return Some(true);
                    }
                    times += 1;
                }
                Some(false)
            }
            Node::Look(look) => Some(self.holds(*look, at) && self.goes_on(at, rest)?),
            Node::Optional(node) => Some(self.matches(node, at, rest)? || self.goes_on(at, rest)?),
            Node::Sequence(nodes) => self.goes_on(at, &Rest::Nodes(nodes, rest)),
            Node::Branches(nodes) => {
                for node in nodes {
                    if node.may_begin(text.first()) && self.matches(node, at, rest)? {
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
            Look::LineStart => at == 0 || is_newline(at - 1),
            Look::LineEnd => at == self.text.len() || is_newline(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pattern::{Pattern, Texts, compile, translate};
    use proptest::prelude::*;

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

    /// Expressions, of which nearly all can be walked.
    fn expressions() -> impl Strategy<Value = String> {
        let atoms = prop::sample::select(vec![
            "",
            ".",
            "(?s:.)",
            "[^/]",
            "[^a]",
            r"[^\x00-\x7F]",
            "[^é]",
            "[à-ö]",
            "[a-é]",
            "[_b]",
            "(?i:A)",
            r"\A",
            "^",
            "$",
            r"\z",
            "(?m:^)",
            "(?m:$)",
            r"\b",
            "a",
            "ab",
            "b_",
            "/",
            "é",
            "日",
            r"\x0A",
            r"\Qa/\E",
        ]);
        atoms.prop_map(str::to_owned).prop_recursive(4, 16, 4, |inner| {
            let several = prop::collection::vec(inner.clone(), 1..4);
            let operators =
                prop::sample::select(vec!["*", "+?", "?", "{2}", "{0,3}", "+", "{0}", "??"]);
            let letters = prop::sample::select(vec!["a", "ab", "[ab]", ".", "b_"]);
            prop_oneof![
                several.clone().prop_map(|parts| parts.concat()),
                several.prop_map(|branches| format!("(?:{})", branches.join("|"))),
                inner.clone().prop_map(|inner| format!("({inner})")),
                (inner, operators.clone())
                    .prop_map(|(inner, operator)| format!("(?:{inner}){operator}")),
                (letters, operators).prop_map(|(letters, operator)| format!("{letters}{operator}")),
            ]
        })
    }

    fn texts() -> impl Strategy<Value = String> {
        let letters = prop::sample::select(vec!['a', 'b', 'A', '/', '\n', '_', '\0', '\x7F']);
        prop::collection::vec(letters, 0..8).prop_map(|letters| letters.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        /// Within a text, and as the whole text, of which a part too many or too few is seen.
        #[test]
        fn walking_finds_what_the_compiled_expression_finds(
            expression in expressions(),
            texts in prop::collection::vec(texts(), 16),
        ) {
            for expression in [format!("^(?:{expression})$"), expression] {
                let translation = translate(&expression).unwrap();
                let Some(walked) = &translation.tree else { continue };
                let compiled = compile(&translation, Texts::Utf8).unwrap();
                for text in &texts {
                    if let Some(is_match) = walked.is_match(text.as_bytes()) {
                        prop_assert_eq!(is_match, compiled.is_match(text), "{} {:?}", &expression, text);
                    }
                }
            }
        }
    }
}
