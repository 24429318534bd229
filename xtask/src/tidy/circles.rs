//! Import circles among the files of one crate.
//!
//! A file uses another one when its code names something that the other one *defines*, be it in a
//! `use` or by a path. These are not uses:
//!
//! * to declare a module (`mod host;`), and to hand on what it has (`pub use host::Host;`), so that a file
//!   that only gathers others is in no circle; what is imported from it counts as a use of the file that
//!   defines it;
//! * to name a module (`use super::system;`); what is then called in it (`system::open()`) counts;
//! * code under `#[cfg(test)]`.
//!
//! So a child that uses a type which its parent's file defines itself is in a circle with it as soon as
//! the parent's code calls the child. The remedy is a file of its own for the type.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::modules::Crate;
use super::resolve::Target;

/// Files each of which uses the next one, and the last one the first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Circle(Vec<Use>);

/// How one file uses another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Use {
    file: String,
    line: usize,
    path: String,
    used: String,
}

impl fmt::Display for Circle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an import circle of {} files:", self.0.len())?;
        for Use { file, line, path, used } in &self.0 {
            write!(formatter, "\n    {file}:{line}: {path} is defined in {used}")?;
        }
        Ok(())
    }
}

/// Which file uses which, with the first place where it does.
type Uses = BTreeMap<usize, BTreeMap<usize, Use>>;

/// Circles that have no use in common, the shortest ones first; without their uses there is none left.
pub(super) fn in_crate(source: &Crate) -> Vec<Circle> {
    let mut uses = uses(source);
    let mut circles = Vec::new();
    while let Some(files) = shortest(&uses) {
        let next = files.iter().skip(1).chain(files.first());
        let steps = files.iter().zip(next);
        circles.push(Circle(
            steps.filter_map(|(file, used)| uses.get_mut(file)?.remove(used)).collect(),
        ));
    }
    circles
}

fn uses(source: &Crate) -> Uses {
    let mut uses = Uses::new();
    for (at, module) in &source.modules {
        let private = module.imports.values().filter(|import| !import.is_exported);
        let imported = private.map(|import| (&import.path, import.line));
        let named = module.named.iter().map(|(path, line)| (path, *line));
        for (path, line) in imported.chain(named) {
            let Some(Target::File(used)) = source.resolve(at, path) else { continue };
            if used == module.file {
                continue;
            }
            let shown = |file: usize| source.files[file].path.display().to_string();
            uses.entry(module.file).or_default().entry(used).or_insert_with(|| Use {
                file: shown(module.file),
                line,
                path: path.join("::"),
                used: shown(used),
            });
        }
    }
    uses
}

/// The files of the shortest circle, of several the first.
fn shortest(uses: &Uses) -> Option<Vec<usize>> {
    uses.keys().filter_map(|start| back_to(*start, uses)).min_by_key(Vec::len)
}

/// The shortest way from a file back to it.
fn back_to(start: usize, uses: &Uses) -> Option<Vec<usize>> {
    let mut reached_from = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(file) = waiting.pop_front() {
        for used in uses.get(&file).into_iter().flat_map(BTreeMap::keys) {
            if *used == start {
                let mut way = vec![file];
                while let Some(before) = way.last().and_then(|last| reached_from.get(last)) {
                    way.push(*before);
                }
                way.reverse();
                return Some(way);
            }
            if !reached_from.contains_key(used) {
                reached_from.insert(*used, file);
                waiting.push_back(*used);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// The circles among modules with these paths and texts.
    fn circles(texts: &[(&str, &str)]) -> Vec<String> {
        let texts = texts.iter().map(|(module, text)| {
            let names = module.split("::").filter(|name| !name.is_empty());
            let path = PathBuf::from(if module.is_empty() { "lib" } else { module });
            (names.map(str::to_owned).collect(), path, (*text).to_owned())
        });
        in_crate(&Crate::parse(texts.collect()).unwrap()).iter().map(Circle::to_string).collect()
    }

    #[test]
    fn two_files_that_import_each_other() {
        let found = circles(&[
            ("", "mod a; mod b;"),
            ("a", "use crate::b::B;\npub struct A(B);"),
            ("b", "pub struct B;\nfn make() { super::a::A::new() }"),
        ]);
        assert_eq!(
            found,
            ["an import circle of 2 files:\n    a:1: crate::b::B is defined in b\n    \
              b:2: super::a::A::new is defined in a"]
        );
    }

    #[test]
    fn the_whole_circle_is_shown() {
        let found = circles(&[
            ("", "mod a; mod b; mod c; mod d;"),
            ("a", "use crate::b::{self, C}; fn a() { b::b() }"),
            ("b", "pub use super::c::C; pub fn b() { c!(super::c::C) }"),
            ("c", "use super::d::*; pub struct C(D);"),
            ("d", "pub struct D; use crate::a::*; fn d() { a() }"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("an import circle of 3 files:"), "{}", found[0]);
        assert!(found[0].contains("a:1: crate::b::C is defined in c"), "{}", found[0]);
        assert!(found[0].contains("d:1: a is defined in a"), "{}", found[0]);
    }

    #[test]
    fn a_parent_that_only_gathers_is_in_no_circle() {
        let gathers = "mod a; mod b; pub use a::A; pub use b::B;";
        let texts = [
            ("", "mod g;"),
            ("g", gathers),
            ("g::a", "pub struct A;"),
            ("g::b", "use super::A; pub struct B(A);"),
        ];
        assert!(circles(&texts).is_empty());
        // It names the child in its code, and the child needs what it defines.
        let calls =
            [("g", "mod a; pub struct G(a::A);"), ("g::a", "use super::G; pub struct A(G);")];
        assert_eq!(circles(&calls).len(), 1);
        let exports = [
            ("g", "mod a; pub use a::A; pub struct G(A);"),
            ("g::a", "use super::G; pub struct A;"),
        ];
        assert_eq!(circles(&exports).len(), 1);
    }

    #[test]
    fn modules_and_tests_are_not_uses() {
        let texts = [
            ("", "mod a; mod b;"),
            ("a", "use super::b; pub fn a() {} #[cfg(test)] mod tests { use crate::b::b; }"),
            ("b", "pub fn b() { crate::a::a() } #[cfg(test)] mod more;"),
            ("b::more", "use crate::a::a; pub fn c() {}"),
            ("a::inner", "fn a() { crate::b::more::c() }"),
        ];
        assert!(circles(&texts).is_empty());
    }

    #[test]
    fn a_module_with_its_file_elsewhere_is_not_its_parent() {
        let texts = [
            ("", "#[path = \"../x.rs\"] mod x; mod a; fn all() { a::a() }"),
            ("a", "use crate::x::X; pub fn a() {}"),
        ];
        assert!(circles(&texts).is_empty());
    }

    #[test]
    fn macros() {
        // What a macro defines belongs to the file of the call; an exported macro to its own file.
        let texts = [
            ("", "mod a; mod b;"),
            ("a", "table! { READS: u64 } fn a() { crate::made!() }"),
            ("b", "use crate::a::READS; #[macro_export] macro_rules! made { () => {} }"),
        ];
        assert_eq!(circles(&texts).len(), 1);
    }
}
