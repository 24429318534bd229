//! Searching a short text of ASCII by walking the tree of an expression, as long as that costs little.
//!
//! Most expressions of a configuration are lists of names with a wildcard here and there, and meet some hundred
//! short names once. To compile one takes more than to find all of them by backtracking.

use memchr::memchr;
use std::mem;

/// How deep the calls of a walk may nest, in nodes: some hundred bytes of the stack each.
const DEEPEST: usize = 64;

/// How many nodes, branches, bytes and places a walk looks at before it gives up. Each name of the fields of
/// `netstat` takes some fifty.
const STEPS: usize = 1_000;

/// An expression of texts of ASCII. It tells whether there is a match, and not where, so that it knows nothing of
/// groups and of greed.
#[derive(Debug)]
pub(super) struct Tree {
    root: Node,
    /// Whether it can match at the beginning of a text alone.
    is_anchored: bool,
}

#[derive(Debug)]
enum Node {
    Bytes(Vec<u8>),
    /// One after the other of these, so many at the least and at the most.
    Run {
        set: Set,
        least: usize,
        most: usize,
    },
    Look(Look),
    Optional(Box<Node>),
    Sequence(Vec<Node>),
    Alternation(Vec<Node>),
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

/// The inside of a group, or the whole expression, to which its items are added in their order.
///
/// It holds at most so much as is walked: what nests more deeply or has more branches is given up at once.
#[derive(Default)]
pub(super) struct Group {
    /// All but the last.
    branches: Vec<Node>,
    /// Of the last branch.
    nodes: Vec<Node>,
    /// Whether the last item is all of the last node, and not its last byte.
    is_whole: bool,
    /// How deep the calls for the last branch nest at the most: as deep as those for its nodes together.
    depth: usize,
    /// That of the deepest branch before.
    depth_before: usize,
    /// It has something that is not walked.
    is_given_up: bool,
}

impl Group {
    pub(super) fn byte(&mut self, byte: u8) {
        match self.nodes.last_mut() {
            Some(Node::Bytes(bytes)) => bytes.push(byte),
            _ => self.add(Node::Bytes(vec![byte]), 1),
        }
        self.is_whole = false;
    }

    /// One of some characters, a bit each.
    pub(super) fn set(&mut self, set: u128) {
        self.add(Node::Run { set: Set(set), least: 1, most: 1 }, 1);
    }

    pub(super) fn look(&mut self, look: Look) {
        self.add(Node::Look(look), 1);
    }

    /// Adds all of a group as one item.
    pub(super) fn add_group(&mut self, mut group: Group) {
        group.end_branch();
        if group.is_given_up {
            return self.give_up();
        }
        let depth = group.depth_before + usize::from(group.branches.len() > 1);
        self.add(group.into_node(), depth);
    }

    /// Ends a branch, behind which another one begins.
    pub(super) fn end_branch(&mut self) {
        let mut nodes = mem::take(&mut self.nodes);
        let depth = mem::take(&mut self.depth);
        let (branch, depth) = match nodes.len() {
            0 => (Node::Bytes(Vec::new()), 1),
            1 => (nodes.remove(0), depth),
            _ => (Node::Sequence(nodes), depth + 1),
        };
        self.branches.push(branch);
        self.depth_before = self.depth_before.max(depth);
        if self.is_given_up || self.branches.len() > STEPS {
            self.give_up();
        }
    }

    /// Repeats the last item.
    pub(super) fn repeat(&mut self, least: u32, most: Option<u32>) {
        let item = match self.nodes.last_mut() {
            Some(Node::Bytes(bytes)) if !self.is_whole && bytes.len() > 1 => {
                bytes.pop().map(|last| Node::Bytes(vec![last]))
            }
            _ => {
                self.depth = self.depth.saturating_sub(1);
                self.nodes.pop()
            }
        };
        let set = match &item {
            Some(Node::Run { set, least: 1, most: 1 }) => Some(*set),
            Some(Node::Bytes(bytes)) => match **bytes {
                [byte] => Some(Set(1 << byte)),
                _ => None,
            },
            _ => None,
        };
        match (item, set) {
            (_, Some(set)) => {
                let most = most.map_or(usize::MAX, |most| most as usize);
                self.add(Node::Run { set, least: least as usize, most }, 1);
            }
            (Some(item), None) if (least, most) == (0, Some(1)) => {
                self.add(Node::Optional(Box::new(item)), 2);
            }
            _ => self.give_up(),
        }
    }

    /// Has no tree made.
    pub(super) fn give_up(&mut self) {
        *self = Group { is_given_up: true, ..Group::default() };
    }

    fn add(&mut self, node: Node, depth: usize) {
        self.depth += depth;
        if self.is_given_up || self.depth > DEEPEST {
            return self.give_up();
        }
        self.nodes.push(node);
        self.is_whole = true;
    }

    /// `None` of what is not walked.
    pub(super) fn into_tree(mut self) -> Option<Tree> {
        self.end_branch();
        if self.is_given_up {
            return None;
        }
        let root = self.into_node();
        Some(Tree { is_anchored: root.is_anchored(), root })
    }

    /// Of one whose last branch has ended.
    fn into_node(mut self) -> Node {
        match self.branches.len() {
            1 => self.branches.remove(0),
            _ => Node::Alternation(self.branches),
        }
    }
}

impl Node {
    fn is_anchored(&self) -> bool {
        match self {
            Node::Look(look) => *look == Look::Start,
            Node::Sequence(nodes) => nodes.first().is_some_and(Node::is_anchored),
            Node::Alternation(nodes) => nodes.iter().all(Node::is_anchored),
            Node::Bytes(_) | Node::Run { .. } | Node::Optional(_) => false,
        }
    }

    /// Whether it may match something that begins with this byte, or at the end of the text.
    fn may_begin(&self, next: Option<&u8>) -> bool {
        match self {
            Node::Bytes(bytes) => bytes.first().is_none_or(|first| next == Some(first)),
            Node::Run { set, least, .. } => *least == 0 || next.is_some_and(|next| set.has(*next)),
            Node::Look(look) => *look != Look::End || next.is_none(),
            Node::Sequence(nodes) => nodes.first().is_none_or(|first| first.may_begin(next)),
            Node::Optional(_) | Node::Alternation(_) => true,
        }
    }
}

impl Tree {
    /// Whether it matches anywhere in a text of ASCII; `None` where that takes too many steps.
    pub(super) fn is_match(&self, text: &[u8]) -> Option<bool> {
        debug_assert!(text.is_ascii());
        let mut walk = Walk { text, steps_left: STEPS };
        let last = if self.is_anchored { 0 } else { text.len() };
        for start in 0..=last {
            walk.spend(1)?;
            if self.root.may_begin(text.get(start))
                && walk.matches(&self.root, start, &Rest::Nothing)?
            {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// The continuation: what has to match behind a node.
#[derive(Clone, Copy)]
enum Rest<'t> {
    Nothing,
    /// These, one behind the other, and then the others.
    Nodes(&'t [Node], &'t Rest<'t>),
}

impl<'t> Rest<'t> {
    /// What comes first, and what comes behind that.
    fn split(&self) -> Option<(&'t Node, Rest<'t>)> {
        match *self {
            Rest::Nothing => None,
            Rest::Nodes([], rest) => rest.split(),
            Rest::Nodes([node, nodes @ ..], rest) => Some((node, Rest::Nodes(nodes, rest))),
        }
    }
}

struct Walk<'t> {
    text: &'t [u8],
    steps_left: usize,
}

impl Walk<'_> {
    fn spend(&mut self, steps: usize) -> Option<()> {
        self.steps_left = self.steps_left.checked_sub(steps)?;
        Some(())
    }

    /// Whether the text has at this place what the node matches, and behind that the rest; `None` without steps left.
    fn matches(&mut self, node: &Node, at: usize, rest: &Rest<'_>) -> Option<bool> {
        self.spend(1)?;
        let text = self.text.get(at..).unwrap_or_default();
        match node {
            Node::Bytes(bytes) => {
                Some(text.starts_with(bytes) && self.goes_on(at + bytes.len(), rest)?)
            }
            Node::Run { set, least, most } => {
                // One more than there are steps left is too many.
                let most = (*most).min(self.steps_left + 1);
                let run = text.iter().take(most).take_while(|&&byte| set.has(byte)).count();
                self.spend(run)?;
                let Some((next, behind)) = rest.split() else { return Some(*least <= run) };
                let mut times = *least;
                while times <= run {
                    // A wildcard would else look at each place.
                    if let Node::Bytes(bytes) = next
                        && let Some(first) = bytes.first()
                    {
                        let places = text.get(times..text.len().min(run + 1)).unwrap_or_default();
                        times += memchr(*first, places).unwrap_or(places.len());
                    }
                    if times <= run
                        && next.may_begin(text.get(times))
                        && self.matches(next, at + times, &behind)?
                    {
                        return Some(true);
                    }
                    self.spend(1)?;
                    times += 1;
                }
                Some(false)
            }
            Node::Look(look) => Some(self.holds(*look, at) && self.goes_on(at, rest)?),
            Node::Optional(node) => Some(self.matches(node, at, rest)? || self.goes_on(at, rest)?),
            Node::Sequence(nodes) => self.goes_on(at, &Rest::Nodes(nodes, rest)),
            Node::Alternation(nodes) => {
                for node in nodes {
                    self.spend(1)?;
                    if node.may_begin(text.first()) && self.matches(node, at, rest)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
        }
    }

    fn goes_on(&mut self, at: usize, rest: &Rest<'_>) -> Option<bool> {
        match rest.split() {
            None => Some(true),
            Some((node, behind)) => self.matches(node, at, &behind),
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
    use crate::pattern::tests::{expressions, texts};
    use crate::pattern::{Pattern, Texts, compile, translate};
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

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

    /// What repeats or extends an item, and not what is before it.
    #[test]
    fn an_operator_takes_the_last_item() {
        for (expression, text, is_taken) in [
            ("^ab*$", "abb", true),
            ("^ab*$", "abab", false),
            (r"^\Qab\E*$", "abb", true),
            ("^ab(?i)*$", "abb", true),
            ("^(ab)c*$", "abcc", true),
            ("^(ab)c*$", "ababc", false),
            ("^(ab)?c$", "abc", true),
            ("^(ab)?c$", "ac", false),
            ("^x(a|b)y?$", "xb", true),
            ("^()a*$", "aa", true),
            ("^(a)*$", "aa", true),
        ] {
            assert_eq!(outcome(expression, text), (is_taken, true), "{expression} {text}");
        }
    }

    /// For its text or its shape.
    #[test]
    fn what_costs_too_much_to_walk_is_compiled() {
        let long = "a".repeat(200);
        assert_eq!(outcome("a*a*a*a*b", &long), (false, false));
        assert_eq!(outcome("a*a*a*a*b", "aaab"), (true, true));
        assert_eq!(outcome("a*[bc]", &long), (false, false));
        let names: Vec<String> = (0..900).map(|number| format!("q{number}")).collect();
        assert_eq!(outcome(&names.join("|"), "q7"), (true, true));
        assert_eq!(outcome(&names.join("|"), &long), (false, false));
        assert_eq!(outcome("a$", &long.repeat(2)), (true, false));
        assert_eq!(outcome("(ab|c){99}", "c"), (false, false));
        assert_eq!(outcome(r"\ba", "c a"), (true, false));
        let nested = |times| format!("{}b{}", "(a|c".repeat(times), ")".repeat(times));
        assert_eq!(outcome(&nested(10), "cccccccccb"), (false, true));
        assert_eq!(outcome(&nested(40), "cb"), (false, false));
    }

    /// Else the property below would hold of nothing.
    #[test]
    fn most_of_the_expressions_of_the_tests_are_walked() {
        let mut runner = TestRunner::deterministic();
        let mut is_walked = || {
            let expression = expressions().new_tree(&mut runner).unwrap().current();
            translate(&expression).unwrap().tree.is_some()
        };
        let walked = (0..1000).filter(|_| is_walked()).count();
        assert!(walked > 500, "{walked}");
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
