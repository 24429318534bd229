//! Where a name is defined.

use super::modules::{Crate, Module, Names};

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A module, which is not yet a use of anything in it.
    Module(Names),
    /// Something that this file defines.
    File(usize),
}

/// Imports of imports of imports; a longer chain leads in a circle.
const MOST_STEPS: usize = 32;

impl Crate {
    /// Follows a path that stands in the module `from`, through what is imported or exported again, to
    /// the file that defines what it names. `None` if that is in another crate.
    pub(super) fn resolve(&self, from: &[String], path: &[String]) -> Option<Target> {
        self.follow(from, path, MOST_STEPS)
    }

    fn follow(&self, from: &[String], path: &[String], steps: usize) -> Option<Target> {
        let steps = steps.checked_sub(1)?;
        let mut at = from.to_vec();
        let mut rest = path;
        let mut is_qualified = false;
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()?),
                _ => break,
            }
            is_qualified = true;
            rest = others;
        }
        while let [name, others @ ..] = rest {
            let found = self.look_up(&at, name, others.is_empty(), steps);
            at = match found {
                Some(Target::Module(module)) => module,
                Some(found) => return Some(found),
                // A macro may have defined it, in this module or for the whole crate.
                None if is_qualified => {
                    let exported = self.exported_macros.get(name).filter(|_| at.is_empty());
                    let module = self.modules.get(&at)?;
                    // Its file is in another folder, or for tests alone.
                    if module.declared.contains(name) {
                        return None;
                    }
                    return Some(Target::File(exported.copied().unwrap_or(module.file)));
                }
                None => return None,
            };
            is_qualified = true;
            rest = others;
        }
        Some(Target::Module(at))
    }

    /// Finds a name in a module. The last name of a path is rather an item than a module.
    fn look_up(&self, at: &[String], name: &str, is_last: bool, steps: usize) -> Option<Target> {
        let module = self.modules.get(at)?;
        let mut child = at.to_vec();
        child.push(name.to_owned());
        let child = self.modules.contains_key(&child).then_some(Target::Module(child));
        if child.is_some() && !is_last {
            return child;
        }
        self.look_up_item(module, at, name, steps).or(child)
    }

    fn look_up_item(
        &self,
        module: &Module,
        at: &[String],
        name: &str,
        steps: usize,
    ) -> Option<Target> {
        let steps = steps.checked_sub(1)?;
        if module.defined.contains(name) {
            return Some(Target::File(module.file));
        }
        if let Some(import) = module.imports.get(name) {
            // `pub use check::check` would else lead to itself.
            let is_same = import.path.len() == 1 && import.path[0] == name;
            return if is_same { None } else { self.follow(at, &import.path, steps) };
        }
        module.globs.iter().find_map(|glob| match self.follow(at, glob, steps)? {
            Target::Module(other) if other != at => self.look_up(&other, name, true, steps),
            _ => None,
        })
    }
}
